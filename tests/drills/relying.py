"""A relying party that trusts only keys it could have known: it asks for the JWK set when its copy may be kept no longer, and never for a
key that it does not know. A token that it cannot verify was signed by a key that was not published before its first use (F-20)."""

import re
import threading
import time
from collections.abc import Callable

import httpx
from tests.drills.ledger import Ledger
from tests.drills.load import Answer, Load, Walker
from tests.drills.world import World

from watchword.jose import JoseError, jwk, jws
from watchword.jose.jwk import Key
from watchword.jose.strict_json import loads

ALGORITHMS = ("ES256", "EdDSA")


def published(address: str) -> tuple[list[Key], int]:
    """Return the keys that a node publishes, and for how many seconds they may be kept."""
    answer = httpx.get(address + "/.well-known/jwks.json", timeout=15).raise_for_status()
    kept = re.search(r"max-age=(\d+)", answer.headers["cache-control"])
    assert kept is not None, "the set says how long it may be kept"
    return jwk.parse_set(loads(answer.content)), int(kept[1])


class Relying:
    """Copies of the set, one of each node, each kept for as long as it may be; safe to be used by many threads."""

    def __init__(self, world: World, clock: Callable[[], float] = time.monotonic) -> None:
        self._world, self._clock = world, clock
        self._copies: dict[str, tuple[float, list[Key]]] = {}
        self._lock = threading.Lock()
        self.verified = 0
        self.kids: set[str | None] = set()

    def learn(self) -> None:
        """Ask every node anew."""
        for node in self._world.nodes:
            keys, kept = published(node.address)
            self._copies[node.address] = (self._clock() + kept, keys)

    def find_fault(self, token: str) -> str:
        """Return why a token does not verify by one of the copies, or nothing."""
        with self._lock:
            self._renew()
            for address, (_, keys) in self._copies.items():
                try:
                    header, _ = jws.verify(token, keys, ALGORITHMS)
                except JoseError as error:
                    kid = jws.peek(token).kid
                    return (
                        f"I1: a token of key {kid} does not verify by the copy of {address}: {error.reason}"
                    )
                self.kids.add(header.kid)
            self.verified += 1
        return ""

    def _renew(self) -> None:
        """Ask again where a copy may be kept no longer; a node that is away is asked next time."""
        for node in self._world.nodes:
            until, _ = self._copies.get(node.address, (0.0, []))
            if self._clock() >= until:
                try:
                    keys, kept = published(node.address)
                except httpx.HTTPError:
                    continue
                self._copies[node.address] = (self._clock() + kept, keys)


class Sceptic(Walker):
    """A walker that believes no ID token which it cannot verify."""

    relying: Relying

    def client(self, op: str, path: str, about: str = "", **form: str) -> Answer:
        """Send a form as the client, and verify what comes back signed."""
        answer = super().client(op, path, about, **form)
        token = answer.document.get("id_token")
        if isinstance(token, str) and (fault := self.relying.find_fault(token)):
            self.violate(fault)
        return answer


def sceptics(world: World, ledger: Ledger, relying: Relying, number: int, seed: int) -> Load:
    """Return a load of sceptics."""
    load = Load(world, ledger, 0, seed)
    for n in range(number):
        walker = Sceptic(world, ledger, world.people[n % len(world.people)], seed * 1000 + n)
        walker.relying = relying
        load.add(walker)
    return load
