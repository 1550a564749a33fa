"""CVE-2017-15361 (ROCA): RSA keys whose primes a flawed library made, so that anybody can factor them.

Such a modulus lies, for each of some small primes, in the group that 65537 generates; an honest one does so for all of them once in
many millions of keys.
"""

from functools import lru_cache

_PRIMES = (11, 13, 17, 19, 37, 53, 61, 71, 73, 79, 97, 103, 107, 109, 127, 151, 157)


@lru_cache(maxsize=1)
def _marks() -> tuple[tuple[int, frozenset[int]], ...]:
    return tuple((prime, frozenset(pow(65537, power, prime) for power in range(prime))) for prime in _PRIMES)


def is_factorable(modulus: int) -> bool:
    """Whether an RSA modulus carries the marks of the flawed library."""
    return all(modulus % prime in mark for prime, mark in _marks())
