"""A token that is always valid: fetched when it is needed and renewed before it expires, by one caller for all.

Theory of operation. A token in memory is used until shortly before its expiry. Then the first caller takes the store's lock and asks
for another; all others wait for the lock and find the new token. When an API refuses a token, it is dropped and another is fetched.
When the authorization server cannot be reached, a token that has not expired is still used, and nobody asks again for a while:
otherwise every request would wait for a server that hangs.
"""

import contextlib
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeGuard

import httpx
import msgspec

from watchword.client.addresses import origin_of
from watchword.client.credential import Destination
from watchword.client.errors import AnswerLost, Refused, SignInNeeded, Unreachable, WrongAddress
from watchword.client.grants import Grant
from watchword.client.identity import Identity
from watchword.client.parts import check_part
from watchword.client.proofs import Clocks, Prover
from watchword.client.server import AuthorizationServer, Document, seconds
from watchword.client.store import FileStore, MemoryStore, Record, Store
from watchword.jose import JoseError, jwk
from watchword.oauth.credential_text import check_credential

MARGIN = 30.0  # seconds before its expiry at which a token is renewed, but at most a quarter of its lifetime
PAUSE = 5.0  # seconds without asking again, after a failed attempt to renew a token that is still valid
YOUNG = 1.0  # seconds: when a token is refused that was only just issued, another one will not help


@dataclass(frozen=True, slots=True)
class Failure:
    """A failed request for a token of `owner`: requests that began to wait before `until` (`time.monotonic`) fail with the same `reason`."""

    owner: str
    reason: str
    until: float

    def answers(self, owner: str, since: float) -> bool:
        """Whether it is also the answer for a request that has waited since then."""
        return self.owner == owner and since < self.until

    def again(self) -> Unreachable:
        """Return the error for such a request."""
        return Unreachable(self.reason, max(self.until - time.monotonic(), 0.0))


class TokenSource:
    """Fetches and renews a client's tokens for one API.

    - `issuer`: the authorization server's issuer identifier.
    - `client`: who the client is and how it authenticates (`ClientSecret`, `PrivateKey`, `PublicClient`, or `ZeroProof` from
      `watchword.zero.client`).
    - `grant`: how it obtains tokens (`ClientCredentials`, `RefreshToken`, `TokenExchange`).
    - `api`: the API's address, the only origin that tokens are sent to.
    - `dpop`: bind tokens to a key, which the store keeps.
    - `store`: where tokens are kept. A `FileStore` shares them between processes and survives restarts.

    Raises ValueError for a wrong argument, and WrongAddress for an address that credentials must not be sent to.
    """

    def __init__(
        self,
        issuer: str,
        client: Identity,
        grant: Grant,
        *,
        api: str | Iterable[str],
        dpop: bool = False,
        store: Store | None = None,
        http: httpx.Client | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._destination = Destination(api)
        check_part("client", client, "prove", 'ClientSecret("app", "…")')
        check_credential("client_id", client.client_id)
        check_part("grant", grant, "begin", 'ClientCredentials("orders:read")')
        if store is not None:
            check_part("store", store, "lock", 'FileStore("tokens.json")')
        if not isinstance(dpop, bool):
            raise ValueError(f"dpop is True or False, not {dpop!r}")
        if getattr(client, "needs_dpop", False) and not dpop:
            raise ValueError("dpop: True, since the client's proof is bound to a key")
        if isinstance(http, httpx.AsyncClient):
            raise ValueError("http: give a synchronous httpx.Client, not an AsyncClient")
        self._clocks = Clocks(clock)
        self._issuer = issuer
        self.server = AuthorizationServer(issuer, self._clocks, http)
        self._client = client
        self._grant = grant
        # Not `or`: an empty store may be falsy.
        self._store: Store = MemoryStore() if store is None else store
        self._dpop = dpop
        self._prover: Prover | None = None
        self._known: Record | None = None
        self._in_vain = -PAUSE  # when renewing a token that is still valid last failed
        self._failed: Failure | None = None

    def __reduce__(self) -> str:
        """Raise TypeError with the reason: a source cannot be pickled or copied, since its locks and connections belong to this process."""
        raise TypeError(
            "a TokenSource cannot be copied or pickled: create one in each process, with one FileStore to share its tokens"
        )

    def check(self, address: str) -> None:
        """Raise WrongAddress when the token does not belong at an address."""
        self._destination.check(address)

    @property
    def owner(self) -> str:
        """The owner of the present token, in a store that may be shared."""
        return self._owner_of(self._grant.settled())

    def _owner_of(self, grant: Grant) -> str:
        return f"{self._issuer} {self._client.client_id} {grant.identity()}{' dpop' if self._dpop else ''}"

    def is_ready(self) -> bool:
        """Whether a fresh token is in memory."""
        known = self._known
        return known is not None and self._is_fresh(known) and known.owner == self.owner

    def token(self) -> str:
        """Return a valid access token; raise ClientError."""
        return self.record().access_token

    def record(self, since: float | None = None) -> Record:
        """Return the record of a valid access token; raise ClientError. `since` is as for `present`."""
        since = time.monotonic() if since is None else since
        grant = self._grant.settled()
        owner, known = self._owner_of(grant), self._known
        if known is not None and self._is_fresh(known) and known.owner == owner:
            return known
        with self._store.lock():
            found = stored = self._load(owner)
            if found is None or not self._is_fresh(found):
                if self._failed is not None and self._failed.answers(owner, since):
                    raise self._failed.again()
                found = self._renewed(stored, grant, owner)
            self._known = found
            return found

    def present(self, method: str, address: str, since: float | None = None) -> dict[str, str]:
        """Return the headers of one request, with a valid token and its proof; raise ClientError."""
        self.check(address)
        record = self.record(since)
        if self._prover is None:
            return {"authorization": f"Bearer {record.access_token}"}
        proof = self._prover.proof(method, address, record.access_token)
        return {"authorization": f"{record.token_type} {record.access_token}", "dpop": proof}

    def heard(self, address: str, status: int, headers: Mapping[str, str], sent: str) -> bool:
        """Learn from an API's answer to what was `sent` as Authorization."""
        try:
            self.check(address)
        except WrongAddress:  # the end of a redirect, whose answer says nothing about our token
            return False
        origin = origin_of(address)
        fresh_nonce = self._prover is not None and self._prover.heard(origin, headers)
        fresh_clock = self._clocks.heard(origin, headers)
        if status != 401:
            return False
        challenge = headers.get("www-authenticate", "")
        if "use_dpop_nonce" in challenge or "invalid_dpop_proof" in challenge:
            return fresh_nonce or fresh_clock
        if "insufficient_user_authentication" in challenge:  # RFC 9470 §3: the person has to sign in again
            return False
        return self._forget(sent.partition(" ")[2])

    def _forget(self, token: str) -> bool:
        worthwhile = True
        with self._store.lock():
            stored = self._store.load()
            if stored is not None and stored.access_token == token:
                # Negative where this clock was set back, which says nothing of the age
                worthwhile = not 0 <= self._clocks() - stored.obtained_at < YOUNG
                try:
                    self._store.save(msgspec.structs.replace(stored, access_token="", expires_at=0.0))
                except OSError:  # a full disk, which could keep no other token either
                    return False
        if self._known is not None and self._known.access_token == token:
            self._known = None
        return worthwhile

    def _load(self, owner: str) -> Record | None:
        stored = self._store.load()
        if stored is not None and (stored.owner != owner or not _is_whole(stored)):
            stored = None
        if self._dpop:
            self._prover = self._prover_of(stored)
        return stored

    def _prover_of(self, stored: Record | None) -> Prover:
        """Return the prover for a record's key, which another process that shares the store may have replaced."""
        key = jwk.parse(stored.key) if stored and stored.key else None
        if self._prover is not None and (key is None or key.thumbprint == self._prover.key.thumbprint):
            return self._prover
        return Prover(key or jwk.generate("ES256"), self._clocks)

    def _is_fresh(self, record: Record) -> bool:
        if not record.access_token:
            return False
        if record.expires_at is None:
            return True
        margin = min(MARGIN, (record.expires_at - record.obtained_at) / 4)
        return self._clocks() < record.expires_at - margin

    def _renewed(self, stored: Record | None, grant: Grant, owner: str) -> Record:
        if _still_stands(stored, now := self._clocks()) and 0 <= now - self._in_vain < PAUSE:
            return stored
        with contextlib.ExitStack() as room:
            try:
                renewed = msgspec.structs.replace(self._ask(stored, grant, room), owner=owner)
            except (Unreachable, OSError) as error:
                if not _still_stands(stored, now := self._clocks()):
                    if isinstance(error, Unreachable):
                        self._failed = Failure(owner, str(error), time.monotonic() + error.retry_after)
                    raise
                self._in_vain = now
                return stored
            self._store.save(renewed)
        return renewed

    def _ask(self, stored: Record | None, grant: Grant, room: contextlib.ExitStack) -> Record:
        if stored is not None and stored.refresh_token:
            self._keep(room)
            form = {"grant_type": "refresh_token", "refresh_token": stored.refresh_token}
            try:
                return self._refreshed(form | grant.targets())
            except Refused as refused:
                if refused.code != "invalid_grant":
                    raise
                self._store.save(None)
        begun = grant.begin()
        was_refused = stored is not None and bool(stored.refresh_token)
        if begun is None or (was_refused and begun.get("grant_type") == "refresh_token"):
            raise SignInNeeded("invalid_grant", "the refresh token is no longer valid: sign in again")
        if begun["grant_type"] != "refresh_token":
            return self._record(begun)
        self._keep(room)
        try:
            return self._refreshed(begun)
        except Refused as refused:
            if refused.code == "invalid_grant":
                raise SignInNeeded(refused.code, refused.description) from None
            raise

    def _refreshed(self, form: Mapping[str, str]) -> Record:
        # A lost answer is asked for again at once. The server may have rotated the refresh token, and repeats its successor only for some
        # seconds; the program's next request may come later, and would then end the sign-in.
        self.server.metadata()  # fails here while the server is out of reach, before the refresh token is sent
        try:
            return self._record(form)
        except AnswerLost:
            return self._record(form)

    def _keep(self, room: contextlib.ExitStack) -> None:
        # The successor of a refresh token has to be stored: using the old one again would end the whole sign-in. A store that cannot
        # reserve room is tested by saving again what it has, or an empty record.
        if isinstance(self._store, FileStore):
            room.enter_context(self._store.room())
        else:
            self._store.save(self._store.load() or Record(owner=""))

    def _record(self, form: Mapping[str, str]) -> Record:
        asked_at = self._clocks()  # taken before asking: a slow answer must not lengthen the token's life
        answer = self.server.ask("token_endpoint", form, self._client, self._prover)
        record = record_of("", answer, asked_at, self._prover)
        # RFC 6749 §6: a server that gives no new refresh token leaves the one that it was asked with good.
        kept = record.refresh_token or form.get("refresh_token", "")
        return msgspec.structs.replace(record, refresh_token=kept)


def _is_whole(record: Record) -> bool:
    try:
        return record.key is None or jwk.parse(record.key).private is not None
    except JoseError:
        return False


def _still_stands(record: Record | None, now: float) -> TypeGuard[Record]:
    return record is not None and bool(record.access_token) and now < (record.expires_at or 0.0)


def record_of(owner: str, answer: Document, asked_at: float, prover: Prover | None) -> Record:
    """Make a record from a token response (RFC 6749 §5.1); raise Unreachable when it is not a valid one."""
    token, kind, lifetime = (
        answer.get("access_token"),
        answer.get("token_type"),
        seconds(answer.get("expires_in")),
    )
    if (
        not isinstance(token, str)
        or not token.isascii()
        or not token.isprintable()
        or " " in token
        or not token
    ):
        raise Unreachable("the authorization server answered without an access token")
    wanted = "dpop" if prover else "bearer"
    if not isinstance(kind, str) or kind.lower() != wanted:
        raise Unreachable(f"the authorization server gave a token of another type than {wanted}")
    refresh, scope, id_token = answer.get("refresh_token"), answer.get("scope"), answer.get("id_token")
    return Record(
        owner=owner,
        access_token=token,
        token_type="DPoP" if prover else "Bearer",
        expires_at=None if lifetime is None else asked_at + lifetime,
        obtained_at=asked_at,
        refresh_token=refresh if isinstance(refresh, str) else "",
        scope=scope if isinstance(scope, str) else "",
        id_token=id_token if isinstance(id_token, str) else "",
        key=jwk.private_document(prover.key) if prover else None,
    )
