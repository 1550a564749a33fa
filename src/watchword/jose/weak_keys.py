"""CVE-2017-15361 (ROCA): RSA keys from a library that generated primes which can be factored.

Modulo each of certain small primes, the modulus of such a key lies in the subgroup that 65537 generates. Of honest keys, one in many
millions does so for all of these primes.
"""

from functools import lru_cache

_PRIMES = (11, 13, 17, 19, 37, 53, 61, 71, 73, 79, 97, 103, 107, 109, 127, 151, 157)


@lru_cache(maxsize=1)
def _marks() -> tuple[tuple[int, frozenset[int]], ...]:
    return tuple((prime, frozenset(pow(65537, power, prime) for power in range(prime))) for prime in _PRIMES)


def is_factorable(modulus: int) -> bool:
    """Whether an RSA modulus carries the marks of the flawed library."""
    return all(modulus % prime in mark for prime, mark in _marks())
