"""The verifier: from what a request presented to a `Principal`, or to the right refusal.

Theory of operation. A text that cannot be a token is refused offline. A JWT is verified with the issuer's keys and remembered
until it expires. Anything else is asked about at the issuer, and the answer is remembered for `cache_seconds`: that, and nothing
more, is how late a revocation can be noticed. An answer that holds for one request only (a token limited to paths, addresses or a
number of uses) is never remembered.
"""

import asyncio
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from watchword.guard import background, transport
from watchword.guard.issuer import Issuer, IssuerUnavailable, Local
from watchword.guard.policy import OPEN, Policy, Refused, check, refuse
from watchword.guard.possession import NotProven, Possession, read_nonce_key
from watchword.guard.principal import Principal, from_claims
from watchword.jose import JoseError, jws, jwt
from watchword.jose.jwk import Key
from watchword.oauth import dpop, token_format
from watchword.oauth.bearer import PresentedToken, read_authorization
from watchword.oauth.errors import OAuthError

ALGORITHMS = ("ES256", "EdDSA", "RS256", "PS256", "ES384", "ES512")
LEEWAY = 5
MAX_REMEMBERED = 10_000

K = TypeVar("K")
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Presented:
    """What of a request matters to the guard; `uri` is the whole address as the caller sees it, for DPoP.

    `secure` is False when the request came over unencrypted HTTP.
    """

    authorization: Sequence[str] = ()
    dpop: Sequence[str] = ()
    method: str = "GET"
    uri: str = ""
    path: str = "/"
    address: str | None = None
    certificate: bytes | None = None
    secure: bool = True


class Guard:
    """Accepts the credentials of one issuer for one API.

    `issuer` is its address, or the authorization server itself when it runs in this process. `audience` is the resource
    that tokens must be meant for (default: the issuer, for APIs that share its name). `client_id` and `client_secret` (or
    `WATCHWORD_CLIENT_ID`, `WATCHWORD_CLIENT_SECRET`) authenticate introspection; without them every token is asked about
    with itself as the credential. `live` asks the issuer about JWTs too, so that their revocation is noticed as well.
    `plain_http` says whose credentials are refused, and reported to the issuer as exposed, when they come over unencrypted HTTP:
    those from public addresses, those from anywhere but this machine ("refuse"), or nobody's ("allow").
    With `dpop_nonce_key` (or `WATCHWORD_GUARD_DPOP_NONCE_KEY`), the same in every process of the API, proofs of possession must hold
    a nonce of this API. `api_address` is the API's own address as callers see it, where a proxy shows another one.
    """

    def __init__(
        self,
        issuer: str | Local,
        *,
        audience: str | None = None,
        client_id: str | None = None,
        client_secret: str | None = None,
        cache_seconds: float = 1.0,
        live: bool = False,
        resource_metadata: str | None = None,
        plain_http: transport.PlainHttp = "refuse-public",
        dpop_nonce_key: str | bytes | None = None,
        api_address: str | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._issuer: Issuer | Local
        if isinstance(issuer, str):
            client_id = client_id or os.environ.get("WATCHWORD_CLIENT_ID")
            client_secret = client_secret or os.environ.get("WATCHWORD_CLIENT_SECRET")
            self._issuer = Issuer(issuer, client_id, client_secret)
        else:
            self._issuer = issuer
        self.issuer = self._issuer.issuer
        self.audience = audience or self.issuer
        self.resource_metadata = resource_metadata
        self._local = None if isinstance(self._issuer, Issuer) else self._issuer
        self._live = live or not isinstance(self._issuer, Issuer)
        self._cache_seconds = cache_seconds if isinstance(self._issuer, Issuer) else 0.0
        self.plain_http = plain_http
        self._exposed: dict[bytes, bool] = {}
        self._clock = clock
        self._tokens: dict[str, tuple[Principal, float]] = {}
        self._answers: dict[str, tuple[Mapping[str, object], float]] = {}
        self._asking: dict[tuple[int, str, str | None, str | None], asyncio.Future[Mapping[str, object]]] = {}
        self._recognised: dict[str, tuple[str, Mapping[str, object] | None, Principal]] = {}
        self._possession = Possession(clock, read_nonce_key(dpop_nonce_key), api_address)

    async def authenticate(self, presented: Presented, policy: Policy = OPEN) -> Principal:
        """Return the caller of a request when it meets the policy; raise Refused with the answer to give."""
        known = self._recall(presented)
        if known is not None:
            if policy is not OPEN:
                check(policy, known, now=self._clock(), scheme="Bearer", metadata=self.resource_metadata)
            return known
        found = self._read(presented, policy)
        principal, claims = await self._principal(found.token, presented)
        if self._is_exposed(presented):
            raise await self._tripped(found.token)
        return self._admit(found, presented, principal, claims, policy)

    def authenticate_sync(self, presented: Presented, policy: Policy = OPEN) -> Principal:
        """Do as `authenticate` does, for code without an event loop; never call it on a thread that runs one.

        A token seen before, and a JWT whose key is known, are verified in the calling thread. Only what needs the issuer
        is handed to the process's background loop.
        """
        known = self._recall(presented)
        if known is not None:
            self.demand(known, policy)
            return known
        found = self._read(presented, policy)
        settled = None if self._is_exposed(presented) else self._verify_offline(found.token)
        if settled is not None:
            return self._admit(found, presented, settled, None, policy)
        principal, claims = background.run(self._principal(found.token, presented))
        if self._is_exposed(presented):
            raise background.run(self._tripped(found.token))
        return self._admit(found, presented, principal, claims, policy)

    def demand(self, principal: Principal, policy: Policy) -> None:
        """Raise Refused when a caller that was authenticated before does not meet a policy."""
        if policy is not OPEN:
            scheme = "Bearer" if principal.jkt is None else "DPoP"
            check(policy, principal, now=self._clock(), scheme=scheme, metadata=self.resource_metadata)

    def _read(self, presented: Presented, policy: Policy) -> PresentedToken:
        try:
            found = read_authorization(presented.authorization)
        except OAuthError as error:
            raise refuse(
                error.rule.status, error.code, error.description, "Bearer", self.resource_metadata
            ) from None
        if found is None:
            scope = " ".join(policy.scopes) or None
            scheme = "DPoP" if policy.bound else "Bearer"
            raise refuse(401, None, "Send an access token.", scheme, self.resource_metadata, scope=scope)
        return found

    def _admit(
        self,
        found: PresentedToken,
        presented: Presented,
        principal: Principal,
        claims: Mapping[str, object] | None,
        policy: Policy,
    ) -> Principal:
        try:
            self._possession.check(
                principal, found, presented.dpop, presented.method, presented.uri, presented.certificate
            )
        except NotProven as refused:
            raise self._not_proven(refused) from None
        self._recognise(presented.authorization[0], found.token, claims, principal)
        scheme = "DPoP" if found.scheme == "dpop" else "Bearer"
        check(policy, principal, now=self._clock(), scheme=scheme, metadata=self.resource_metadata)
        return principal

    def _is_exposed(self, presented: Presented) -> bool:
        return not presented.secure and (
            not transport.is_loopback(presented.address)
            if self.plain_http == "refuse"
            else self.plain_http == "refuse-public" and transport.is_public(presented.address)
        )

    async def _tripped(self, token: str) -> Refused:
        """Report a good token that travelled in the clear, once, and return the refusal."""
        digest = token_format.digest(token)
        if digest not in self._exposed:
            try:
                await self._issuer.report_exposed(token)
                _remember(self._exposed, digest, True)
            except IssuerUnavailable:
                pass  # reported with the next request; refused in any case
        return refuse(400, "invalid_request", transport.EXPLANATION, "Bearer", self.resource_metadata)

    def _verify_offline(self, token: str) -> Principal | None:
        """Return what a JWT says when its key is at hand, None when the issuer must be asked."""
        if self._live or token.count(".") != 2 or not isinstance(self._issuer, Issuer):
            return None
        remembered = self._tokens.get(token)
        if remembered is not None and self._clock() < remembered[1]:
            return remembered[0]
        try:
            keys = self._issuer.keys_at_hand(jws.peek(token).kid)
        except JoseError:
            raise self._invalid() from None
        return None if keys is None else self._verified(token, keys, self._clock())

    def _recall(self, presented: Presented) -> Principal | None:
        """Return the caller of a bearer token that was verified before and still holds, without verifying it again."""
        if len(presented.authorization) != 1 or (not presented.secure and self._is_exposed(presented)):
            return None
        known = self._recognised.get(presented.authorization[0])
        if known is None:
            return None
        token, claims, principal = known
        if self._local is not None:
            return principal if self._local.recall(token, presented.address or "") is claims else None
        remembered = self._tokens.get(token)
        return principal if remembered is not None and self._clock() < remembered[1] else None

    def _recognise(
        self, header: str, token: str, claims: Mapping[str, object] | None, principal: Principal
    ) -> None:
        # A bound token must prove possession with every request, a limited one is good for one request only.
        if principal.jkt is None and principal.x5t is None and (claims is None or not claims.get("limited")):
            _remember(self._recognised, header, (token, claims, principal))

    async def _principal(
        self, token: str, presented: Presented
    ) -> tuple[Principal, Mapping[str, object] | None]:
        now = self._clock()
        remembered = self._tokens.get(token)
        if remembered is not None and now < remembered[1]:
            return remembered[0], None
        is_jwt = token.count(".") == 2
        if not is_jwt and self._local is None and not _may_be_ours(token):
            raise self._invalid()
        if is_jwt and not self._live:
            return await self._verify_jwt(token, now), None
        if self._local is not None:
            claims = await self._local.introspect(token, address=presented.address, path=presented.path)
        else:
            claims = await self._ask(token, presented, now)
        if claims.get("active") is not True:
            raise self._invalid()
        principal = from_claims(claims, self.issuer)
        self._check_claims(principal, now)
        return principal, claims

    async def _verify_jwt(self, token: str, now: float) -> Principal:
        if not isinstance(self._issuer, Issuer):
            raise self._invalid()
        try:
            keys = await self._issuer.keys(jws.peek(token).kid)
        except JoseError:
            raise self._invalid() from None
        except IssuerUnavailable:
            raise _unavailable() from None
        return self._verified(token, keys, now)

    def _verified(self, token: str, keys: Sequence[Key], now: float) -> Principal:
        try:
            claims = jwt.decode(
                token,
                keys,
                algorithms=ALGORITHMS,
                typ="at+jwt",  # RFC 9068 §4: an ID token is no access token
                issuer=self.issuer,
                now=int(now),
                leeway=LEEWAY,
                required=("sub", "aud", "exp", "iat", "jti", "client_id"),
            )
        except JoseError:
            raise self._invalid() from None
        principal = from_claims(claims, self.issuer)
        self._check_claims(principal, now)
        _remember(self._tokens, token, (principal, float(principal.expires_at or 0)))
        return principal

    def _check_claims(self, principal: Principal, now: float) -> None:
        if self.audience not in principal.audience:
            raise self._invalid("The token is meant for another API.")
        if principal.expires_at is not None and now >= principal.expires_at + LEEWAY:
            raise self._invalid("The token has expired.")

    async def _ask(self, token: str, presented: Presented, now: float) -> Mapping[str, object]:
        cached = self._answers.get(token)
        if cached is not None and now < cached[1]:
            return cached[0]
        # A task belongs to one event loop: another loop of this process asks for itself.
        key = (id(asyncio.get_running_loop()), token, presented.address, presented.path)
        pending = self._asking.get(key)
        if pending is None:
            pending = asyncio.ensure_future(self._ask_issuer(token, presented))
            self._asking[key] = pending
            pending.add_done_callback(lambda _: self._asking.pop(key, None))
        try:
            claims = await asyncio.shield(pending)
        except IssuerUnavailable:
            raise _unavailable() from None
        if self._cache_seconds and not claims.get("limited"):
            _remember(self._answers, token, (claims, now + self._cache_seconds))
        return claims

    async def _ask_issuer(self, token: str, presented: Presented) -> Mapping[str, object]:
        return await self._issuer.introspect(token, address=presented.address, path=presented.path)

    def _not_proven(self, refused: NotProven) -> Refused:
        algs = " ".join(dpop.ALGORITHMS) if refused.scheme == "DPoP" else None
        answer = refuse(401, refused.error, str(refused), refused.scheme, self.resource_metadata, algs=algs)
        nonce = self._possession.nonce() if refused.scheme == "DPoP" else None
        if nonce is not None:  # RFC 9449 §9
            answer.headers = (*answer.headers, ("DPoP-Nonce", nonce))
        return answer

    def fresh_nonce(self, principal: Principal) -> str | None:
        """Return the nonce to send as `DPoP-Nonce` with the answer to a caller, None where none is asked for (RFC 9449 §9)."""
        return self._possession.nonce() if principal.jkt is not None else None

    def _invalid(self, description: str = "The access token is not valid.") -> Refused:
        return refuse(401, "invalid_token", description, "Bearer", self.resource_metadata)

    async def close(self) -> None:
        """Close the connections of this event loop to the issuer."""
        if isinstance(self._issuer, Issuer):
            await self._issuer.close()


def _unavailable() -> Refused:
    # Not a 401: a client would throw a good token away because the issuer was out of reach for a moment.
    return Refused(
        503, "temporarily_unavailable", "The token cannot be checked right now.", (("Retry-After", "2"),)
    )


def _may_be_ours(token: str) -> bool:
    prefix, underscore, rest = token.partition("_")
    if not underscore or len(rest) != token_format.BODY_LENGTH + token_format.CHECKSUM_LENGTH:
        # Another issuer's opaque token may look like anything.
        return not underscore and len(token) >= 16
    return token_format.is_well_formed(token, prefix[:-1], prefix[-1:])


def _remember(cache: dict[K, V], key: K, value: V) -> None:
    if len(cache) >= MAX_REMEMBERED:
        for oldest in list(cache)[: MAX_REMEMBERED // 4]:
            cache.pop(oldest, None)  # another thread may have been faster
    cache[key] = value
