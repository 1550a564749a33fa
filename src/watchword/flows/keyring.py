"""Signing keys in use: published ahead, rotated with overlap, private parts sealed at rest.

Theory of operation. Each algorithm has a *current* key that signs and a *next* one that is published already, so that a rotation
surprises no relying party: the next key becomes current only after every cached copy of the JWK set has had time to expire. The old
one stays published until the last token that it signed has expired.
"""

import asyncio
import json
import os
from collections.abc import Callable

from watchword.flows.secrets.root_secret import SIGNING
from watchword.flows.secrets.secret import Secret
from watchword.jose import jwk
from watchword.jose.errors import JoseError
from watchword.jose.jwk import Key
from watchword.settings import Settings
from watchword.store import keys as store
from watchword.store.database import Database, StorageUnavailable
from watchword.store.documents import UNREADABLE, reader
from watchword.store.keys import StoredKey, Succession

# Seconds for which a relying party may keep the JWK set; a next key waits that long before it signs.
JWKS_MAX_AGE = 300
# Seconds for which a key is published, at the least, after it stopped signing: no access token lives longer than a day.
SHORTEST_OVERLAP = 86_400 + JWKS_MAX_AGE
# Seconds within which a key that was promoted takes over; one that is to sign later was promoted by a clock that was ahead.
SOON = 3600
# Secrets of the server itself, which all nodes read from the database: generated once, never changed.
SECRET_PURPOSE = "secrets"
PAIRWISE_KEY, NONCE_KEY = "pairwise subjects", "dpop nonces"
SECRET_BYTES = 64

_decode = reader(dict[str, object])


class Keyring:
    """The published keys of this issuer, read again whenever the database's version has changed.

    Results of signature checks are cached by that version, so keys that were even slightly out of date would live on in the cache.
    """

    def __init__(
        self, settings: Settings, database: Database, root: Secret, clock: Callable[[], float]
    ) -> None:
        self._settings = settings
        self._database = database
        self._root = root
        self._clock = clock
        self._stored: list[StoredKey] = []
        self._keys: dict[str, Key] = {}
        self._signing: dict[str, tuple[Key, int]] = {}
        self._secrets: dict[str, bytes] = {}
        self._version = -1

    async def open(self) -> None:
        """Generate the keys that an algorithm lacks, and load the published ones; raise StorageUnavailable for a damaged row."""
        for algorithm in self._settings.signing_algorithms:
            await self._complete(algorithm)
        for name in (PAIRWISE_KEY, NONCE_KEY):
            self._secrets[name] = await self._load_secret(name)
        await self.reload()

    async def _load_secret(self, name: str) -> bytes:
        sealed = await self._database.read(store.find_secret, name)
        if sealed is None:
            fresh = self._root.seal(SECRET_PURPOSE, name, os.urandom(SECRET_BYTES))
            sealed = await self._database.write(store.keep_secret, name, fresh, int(self._clock()))
        return self._root.open_kept(SECRET_PURPOSE, name, sealed)

    def secret(self, name: str) -> bytes:
        """Return one of the server's own secrets."""
        return self._secrets[name]

    async def _complete(self, algorithm: str) -> None:
        """Make the first keys of an algorithm, or those that it lost while `signing_algorithms` did not name it."""
        now = int(self._clock())
        published = [
            one for one in await self._database.read(store.list_keys, now) if one.algorithm == algorithm
        ]
        waiting = [key.kid for key in published if key.activates_at is None]
        if not published or not waiting:
            made = [await self._generate(algorithm, at) for at in ([now, None] if not published else [None])]
            seen = {key.kid for key in published}
            await self._database.write(store.create_keys, algorithm, made, seen=seen, actor="system", now=now)
        elif len(waiting) == len(published):
            await self.rotate(algorithm, actor="system", expected=waiting[0])

    async def _generate(self, algorithm: str, activates_at: int | None) -> StoredKey:
        # In a thread: an RSA key pair may take a second.
        key = await asyncio.to_thread(jwk.generate, algorithm)
        kid = key.kid or key.thumbprint
        private = json.dumps(jwk.private_document(key)).encode()
        return StoredKey(
            kid=kid,
            algorithm=algorithm,
            public_jwk=json.dumps(jwk.public_document(key)),
            sealed_private=self._root.seal(SIGNING, kid, private),
            created_at=int(self._clock()),
            activates_at=activates_at,
        )

    async def reload(self) -> None:
        """Read the published keys again."""
        version = self._database.version()
        stored = await self._database.read(store.list_keys, int(self._clock()))
        if version < self._version:
            return  # a later read has overtaken this one
        keys = {one.kid: self._keys.get(one.kid) or self._unseal(one) for one in stored}
        # All at once, after all rows were read: a damaged row must not leave a revoked key in use (KR-03).
        self._version, self._stored, self._keys = version, stored, keys
        self._signing.clear()

    def _unseal(self, stored: StoredKey) -> Key:
        document = json.loads(self._root.open_kept(SIGNING, stored.kid, stored.sealed_private))
        return _read(stored, document, is_own=True)

    async def _refresh(self) -> None:
        if self._database.version() != self._version:
            await self.reload()

    async def signing_key(self, algorithm: str) -> Key:
        """Return the current key of an algorithm: the newest that is active."""
        await self._refresh()
        return self._current(algorithm)

    def _current(self, algorithm: str) -> Key:
        now = int(self._clock())
        cached = self._signing.get(algorithm)
        if cached is not None and now < cached[1]:
            return cached[0]
        active = [key for key in self._stored if key.algorithm == algorithm and key.activates_at is not None]
        # If the clock is behind that of the node that generated the first key, that key signs all the same (CK-02).
        begun = [key for key in active if (key.activates_at or 0) <= now] or sorted(active, key=_begin)[:1]
        if not begun:
            raise StorageUnavailable(
                f"no key for {algorithm} signs; watchword doctor --data looks at every row"
            )
        # Of keys that were promoted in one second, the last has no end yet.
        current = max(begun, key=lambda key: (_begin(key), key.retires_at is None))
        upcoming = [key.activates_at for key in active if (key.activates_at or 0) > now]
        self._signing[algorithm] = (
            self._keys[current.kid],
            min((at for at in upcoming if at is not None), default=2**62),
        )
        return self._keys[current.kid]

    async def verification_keys(self) -> list[Key]:
        """Return every published key."""
        await self._refresh()
        return list(self._keys.values())

    async def former_keys(self) -> list[Key]:
        """Return the keys that are no longer published but were not revoked: they verify tokens that have expired."""
        stored = await self._database.read(store.list_former_keys, int(self._clock()))
        return [_read(key, _decode(key.public_jwk)) for key in stored]

    def is_known(self, kid: str) -> bool:
        """Whether a `kid` is that of a published key, by the cached copy: good enough for a link, not for a decision."""
        return kid in self._keys

    async def jwks(self) -> dict[str, list[dict[str, str]]]:
        """Return the JWK set (RFC 7517 §5): public parts only, the algorithm that signs unless asked otherwise first.

        The order means nothing to the RFC, but some verifiers accept only the family of the first key that they understand.
        """
        order = self._settings.signing_algorithms
        keys = sorted(
            await self.verification_keys(),
            key=lambda key: order.index(key.alg) if key.alg in order else len(order),
        )
        return {"keys": [{**jwk.public_document(key), "use": "sig", "alg": key.alg} for key in keys]}

    async def states(self) -> list[tuple[StoredKey, str]]:
        """Return every published key with its state: next, current or retiring, or unused where its algorithm signs no longer."""
        await self._refresh()
        signs = self._settings.signing_algorithms
        current = {self._current(key.algorithm).kid for key in self._stored if key.algorithm in signs}
        return [
            (key, _state(key, key.kid in current) if key.algorithm in signs else "unused")
            for key in self._stored
        ]

    async def rotate(
        self, algorithm: str, *, actor: str, expected: str | None = None, database: Database | None = None
    ) -> bool:
        """Promote the next key of an algorithm and publish another; False when another node was first.

        `expected` is the `kid` of the next key that the caller has seen; `database` is the one that the caller writes by.
        """
        await self.reload()
        now = int(self._clock())
        following = next(
            (key for key in self._stored if key.algorithm == algorithm and key.activates_at is None), None
        )
        if following is None or expected not in (None, following.kid):
            return False
        activates_at = _takes_over(following, now)
        rotated = await (database or self._database).write(
            store.rotate_key,
            following.kid,
            await self._generate(algorithm, None),
            activates_at=activates_at,
            retires_at=self._end(activates_at),
            actor=actor,
            now=now,
        )
        await self.reload()
        return rotated

    async def revoke(self, kid: str, *, actor: str, database: Database | None = None) -> bool:
        """Revoke a key at once; when it was the one that signs, its successor takes over at once. `database` as for `rotate`.

        None is made for an algorithm that signs no longer: its keys are to become fewer.
        """
        await self.reload()  # another node may have made it just now
        now, inside = int(self._clock()), database or self._database
        stored = self._published(kid)
        if stored is not None and stored.activates_at is None and self.signs(stored.algorithm):
            # The next key: replaced without ever signing, while the current one goes on.
            fresh = await self._generate(stored.algorithm, None)
            replaced = await inside.write(store.replace_next, kid, fresh, actor=actor, now=now)
            await self.reload()
            if replaced:
                return True
            stored = self._published(kid)  # another node has promoted it just now
        if stored is None:
            return False
        # A key that was to become current soon needs a successor too: the current one already has an end.
        succession = None
        if stored.activates_at is not None and (
            stored.retires_at is None or self._current(stored.algorithm).kid == kid
        ):
            succession = await self._succession(stored, now)
        revoked = await inside.write(store.revoke_key, kid, succession, actor=actor, now=now)
        await self.reload()
        return revoked

    def signs(self, algorithm: str) -> bool:
        """Whether `signing_algorithms` names an algorithm: the keys of others are published, and sign nothing."""
        return algorithm in self._settings.signing_algorithms

    def _published(self, kid: str) -> StoredKey | None:
        return next((key for key in self._stored if key.kid == kid), None)

    async def _succession(self, stored: StoredKey, now: int) -> Succession | None:
        others = [key for key in self._stored if key.algorithm == stored.algorithm and key.kid != stored.kid]
        signs = self._current(stored.algorithm).kid == stored.kid
        announced = min((key for key in others if _begin(key) > now), key=_begin, default=None)
        following = next((key for key in others if key.activates_at is None), None)
        if signs and announced is not None:  # relying parties have known it longer than the next key
            return Succession(announced.kid, stored.algorithm, now)
        if following is None:
            return None
        # Not here: another node may be told of the algorithm, and signs with it.
        if not self.signs(stored.algorithm):
            return Succession(following.kid, stored.algorithm, now) if signs else None
        activates_at = now if signs else _takes_over(following, now)
        return Succession(
            following.kid,
            stored.algorithm,
            activates_at=activates_at,
            following=await self._generate(stored.algorithm, None),
            retires_at=self._end(activates_at),
        )

    def _end(self, stops_at: int) -> int:
        """Return until when a key is published that signs until then (Unix seconds)."""
        return stops_at + max(self._settings.signing_key_overlap, SHORTEST_OVERLAP)

    async def rotate_due(self) -> list[str]:
        """Rotate every algorithm whose current key is older than the key lifetime, or ends without a successor; return which."""
        now, states = int(self._clock()), await self.states()
        announced = {key.algorithm for key, _ in states if now < (key.activates_at or 0) <= now + SOON}
        waiting = {key.algorithm: key.kid for key, _ in states if key.activates_at is None}
        due = []
        for key, state in states:
            is_old = (key.activates_at or now) + self._settings.signing_key_lifetime <= now
            # Earlier releases left an end without a successor behind when a key was revoked.
            if (
                state == "current"
                and key.algorithm not in announced
                and (is_old or key.retires_at is not None)
            ):
                due.append(key.algorithm)
        # Other nodes may come to the same result at the same time; `expected` keeps them from rotating twice (KR-02).
        return [one for one in due if await self.rotate(one, actor="system", expected=waiting.get(one, ""))]


def _takes_over(following: StoredKey, now: int) -> int:
    """Return from when a next key may sign; one that is dated ahead counts as made now, for a wrong clock may have dated it."""
    return max(now, min(following.created_at, now) + JWKS_MAX_AGE)


def _begin(key: StoredKey) -> int:
    return key.activates_at or 0


def _read(stored: StoredKey, document: dict[str, object], *, is_own: bool = False) -> Key:
    try:
        return jwk.parse({**document, "kid": stored.kid}, stored.algorithm, is_own=is_own)
    except JoseError as error:
        raise StorageUnavailable(UNREADABLE.format("a signing key was kept")) from error


def _state(key: StoredKey, is_current: bool) -> str:
    if is_current:
        return "current"
    return "next" if key.retires_at is None else "retiring"
