"""The guard: from what a request presented to a `Principal`, or to the right refusal.

Theory of operation. A credential is read, and verified by its issuer's verifier (`verifier`, or `local` for a server in this process); one
that is bound to a key or a certificate must come with proof of possession; then the policy is checked. A bearer token that was verified
before is found by its whole Authorization header, and costs two look-ups and the check that it has not been revoked.
"""

import logging
import time
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, get_args

from watchword.guard import background, cookies, once, transport
from watchword.guard.local import LocalVerifier
from watchword.guard.misuse import check_address, check_audience, check_choice, check_scopes
from watchword.guard.outages import OutageLog
from watchword.guard.policy import OPEN, Policy, Refused, check, check_policy, refuse
from watchword.guard.possession import NotProven, Possession, read_nonce_key, used_before
from watchword.guard.presented import Presented
from watchword.guard.principal import Principal
from watchword.guard.recipient import AnyVerifier, verifier_of
from watchword.guard.remembered import remember
from watchword.guard.replays import Replays, check_replays, record_use
from watchword.guard.resource import Metadata, metadata_address
from watchword.guard.trusted import AnyIssuer, IssuerUnavailable, Trusted, read_issuers
from watchword.guard.verified import ELSEWHERE, Invalid, Known, Rules, TooOften, WhenSilent
from watchword.guard.verifier import Verifier
from watchword.oauth import dpop, token_format
from watchword.oauth.bearer import PresentedToken, read_authorization, scheme_to_name
from watchword.oauth.dpop import DPoPProof
from watchword.oauth.errors import OAuthError

__all__ = ["Guard", "Presented"]

LOG = logging.getLogger("watchword.guard")


def _of_frameworks(name: str) -> property:
    """Return what says where a method is that only the guards of frameworks have."""

    def missing(_guard: "Guard") -> None:
        raise AttributeError(f"{name} is a method of your framework's Guard, as in watchword.guard.fastapi")

    return property(missing)


class Guard:
    """Authenticates the callers of one API with the credentials of one or more issuers.

    **Whom it trusts**

    - `issuer`: an issuer's address, a `Trusted` for anything beyond the address, a server in this process (`watchword.app.App`), or a
      sequence of these.
    - `audience`: the resource that tokens must be issued for. The default is the issuer, for APIs that share its address.
    - `client_id`, `client_secret` (or `WATCHWORD_CLIENT_ID`, `WATCHWORD_CLIENT_SECRET`): authenticate introspection. Without them, each
      token authenticates its own introspection.
    - `sessions`: the scopes that a signed-in person's session grants. None, the default, accepts no sessions.

    **How soon it notices a revocation**

    - JWTs are verified locally. The issuer's revocation feed, if it has one, announces revocations within a second;
      `revocation_feed=False` does not follow it.
    - `silence`, `when_silent`: after so many seconds without news from the feed, JWTs are introspected (`"introspect"`) or refused with 503
      (`"refuse"`).
    - `live`: introspect every JWT. `status_lists`: check the status of tokens that refer to a status list.
    - `cache_seconds`: how long an introspection response is reused.

    **Proofs of possession and transport**

    - `dpop_nonce_key` (or `WATCHWORD_GUARD_DPOP_NONCE_KEY`): require a nonce of this API in DPoP proofs. All processes need the same key.
    - `dpop_algorithms`: the algorithms that may sign proofs.
    - `api_address`: the API's own address as callers see it, if a proxy changes it.
    - `replays`: a store of used proofs that all processes share. A server in this process is one already.
    - `plain_http`: which credentials to refuse over unencrypted HTTP, and to report to the issuer as exposed: those from public
      addresses (`"refuse-public"`), from anywhere but this machine (`"refuse"`), or none (`"allow"`).
    - `resource_metadata`: the address of the resource's metadata (RFC 9728), for challenges.

    Raises ValueError for a value that cannot work.
    """

    metadata: Metadata | None = None

    def __init__(
        self,
        issuer: AnyIssuer | Sequence[AnyIssuer],
        *,
        audience: str | None = None,
        client_id: str | None = None,
        client_secret: str | None = None,
        cache_seconds: float = 1.0,
        live: bool = False,
        revocation_feed: bool = True,
        silence: float = 5.0,
        when_silent: WhenSilent = "introspect",
        status_lists: bool = False,
        sessions: Collection[str] | None = None,
        resource_metadata: str | None = None,
        plain_http: transport.PlainHttp = "refuse-public",
        dpop_nonce_key: str | bytes | None = None,
        api_address: str | None = None,
        dpop_algorithms: Collection[str] = dpop.ALGORITHMS,
        replays: Replays | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        given = read_issuers(issuer, client_id, client_secret)
        check_choice("plain_http", plain_http, get_args(transport.PlainHttp))
        check_scopes("sessions", () if sessions is None else sessions)
        check_audience(audience)
        if resource_metadata is not None:
            check_address("resource_metadata", resource_metadata)
        check_replays(replays)
        self.issuer = given[0].issuer
        self.audience = audience or self.issuer
        self.resource_metadata = resource_metadata
        self.plain_http = plain_http
        rules = Rules(
            audience=self.audience,
            clock=clock,
            cache_seconds=cache_seconds,
            live=live,
            revocation_feed=revocation_feed,
            silence=silence,
            when_silent=when_silent,
            status_lists=status_lists,
        )
        self.sessions = None if sessions is None else frozenset(sessions)
        self._verifiers: dict[str, AnyVerifier] = {
            one.issuer: Verifier(one, rules) if isinstance(one, Trusted) else LocalVerifier(one, rules)
            for one in given
        }
        self._only = next(iter(self._verifiers.values())) if len(self._verifiers) == 1 else None
        self._clock = clock
        self._exposed: dict[bytes, bool] = {}
        self._recognised: dict[str, tuple[AnyVerifier, str, Known]] = {}
        self._outages = OutageLog()
        self.possession = Possession(clock, read_nonce_key(dpop_nonce_key), api_address, dpop_algorithms)
        self._here = [one for one in given if not isinstance(one, Trusted)]
        self._own_replays = replays
        # A memory that is still empty may be false.
        self._replays = next(iter(self._here), None) if replays is None else replays

    @property
    def issuers(self) -> tuple[str, ...]:
        """The issuers that the guard trusts."""
        return tuple(self._verifiers)

    def publish_metadata(self, metadata: Metadata) -> None:
        """Name the metadata's address in challenges; called by whatever publishes it. The resource is the audience."""
        self.metadata = metadata
        self.resource_metadata = self.resource_metadata or metadata_address(self.audience)

    async def authenticate(self, presented: Presented, policy: Policy = OPEN) -> Principal:
        """Return the caller of a request that satisfies the policy; raise Refused with the response to send."""
        known = self._recall(presented)
        if known is not None:
            self._check(known, policy)
            return known
        try:
            return await self._verify(presented, policy)
        except (Invalid, IssuerUnavailable) as error:
            raise self._refusal(error, presented) from None

    def authenticate_sync(self, presented: Presented, policy: Policy = OPEN) -> Principal:
        """Do the same as `authenticate` without an event loop; never call it on a thread that runs one.

        Tokens seen before, and JWTs whose key is known, are verified in the calling thread. Only requests to the issuer go
        through the process's background loop.
        """
        known = self._recall(presented)
        if known is not None:
            self._check(known, policy)
            return known
        try:
            settled = self._verify_now(presented, policy)
            return settled or background.run(self.authenticate(presented, policy))
        except (Invalid, IssuerUnavailable) as error:
            raise self._refusal(error, presented) from None

    async def authenticate_optional(self, presented: Presented, policy: Policy = OPEN) -> Principal | None:
        """Return the caller as `authenticate` does, or None for a request without any credential.

        A credential that is presented must be valid and satisfy the policy, else Refused is raised: a caller whose token was revoked must
        not go on as an anonymous one. Any `Authorization` or `DPoP` header counts as presented.

        Cookies differ, since browsers add them by themselves. A session that has ended, and a cookie that is malformed or was sent twice,
        leave the caller anonymous, or the public page would be closed to this browser. A live session does so as well where another site
        had the page requested, as by a link; but a request that changes something or opens a WebSocket is then refused as ever (CSRF).
        """
        if presented.authorization or presented.dpop:
            return await self.authenticate(presented, policy)
        is_from_here = cookies.is_from_here(presented)
        if not is_from_here and not cookies.changes_something(presented):
            return None
        try:
            signed_in = await self._session(presented)
        except IssuerUnavailable as error:
            raise self._refusal(error, presented) from None
        if signed_in is None:
            return None
        if not is_from_here:
            raise self._no_credential(presented, policy)
        return await self._admit_session(signed_in, presented, policy)

    def authenticate_optional_sync(self, presented: Presented, policy: Policy = OPEN) -> Principal | None:
        """Do the same as `authenticate_optional` without an event loop, as `authenticate_sync` does."""
        if presented.authorization or presented.dpop:
            return self.authenticate_sync(presented, policy)
        if self.sessions is None or not (presented.cookies or presented.subject):
            return None
        return background.run(self.authenticate_optional(presented, policy))

    async def _verify(self, presented: Presented, policy: Policy) -> Principal:
        if not presented.authorization and cookies.is_from_here(presented):
            signed_in = await self._session(presented)
            if signed_in is not None:
                return await self._admit_session(signed_in, presented, policy)
        background.check_loop()
        found = self._read(presented, policy)
        verifier = self._only or verifier_of(found.token, self._verifiers)
        is_exposed = self._is_exposed(presented)
        try:
            known = await verifier.verify(found.token, presented)
        except Invalid as error:
            if is_exposed and str(error) == ELSEWHERE:  # the token is still good there
                raise await self._report_exposed(verifier, found.token) from None
            raise
        if is_exposed:
            raise await self._report_exposed(verifier, found.token)
        proof = self._prove(found, presented, known.principal)
        await self._use_everywhere(proof, presented)
        return self._admit(found, presented, verifier, known, policy)

    def _verify_now(self, presented: Presented, policy: Policy) -> Principal | None:
        if not presented.authorization and self.sessions is not None:
            return None
        found = self._read(presented, policy)
        if self._is_exposed(presented):
            return None
        verifier = self._only or verifier_of(found.token, self._verifiers)
        known = verifier.verify_now(found.token)
        if known is None or (known.principal.jkt is not None and self._replays is not None):
            return None  # the issuer has to be asked about the token, or `replays` about its proof
        self._prove(found, presented, known.principal)
        return self._admit(found, presented, verifier, known, policy)

    def demand(self, principal: Principal | None, policy: Policy) -> Principal:
        """Return the caller of an endpoint if it satisfies one more policy; raise Refused, or the exception that its framework answers.

        None, whom `optional` lets in, is asked for a credential.
        """
        check_policy("policy", policy)
        if principal is None:
            raise self._no_credential(Presented(), policy)
        self._check(principal, policy)
        return principal

    def _check(self, principal: Principal, policy: Policy) -> None:
        if policy is not OPEN:
            scheme = "Bearer" if principal.jkt is None else "DPoP"
            check(
                policy,
                principal,
                now=self._clock(),
                scheme=scheme,
                metadata=self.resource_metadata,
                algs=self.possession.algs,
            )

    def _read(self, presented: Presented, policy: Policy) -> PresentedToken:
        try:
            found = read_authorization(presented.authorization)
        except OAuthError as error:
            presented.check_headers()
            scheme = scheme_to_name(presented.authorization)
            raise self._refuse(error.rule.status, error.code, error.description, scheme) from None
        if found is None:
            raise self._no_credential(presented, policy)
        return found

    def _no_credential(self, presented: Presented, policy: Policy) -> Refused:
        scope = " ".join(policy.scopes) or None
        scheme = "DPoP" if policy.bound else scheme_to_name(presented.authorization)
        return self._refuse(401, None, "Send an access token.", scheme, scope=scope)

    def _prove(self, found: PresentedToken, presented: Presented, principal: Principal) -> DPoPProof | None:
        try:
            return self.possession.check(principal, found, presented)
        except NotProven as refused:
            raise self._not_proven(refused) from None

    async def _use_everywhere(self, proof: DPoPProof | None, presented: Presented) -> None:
        """Mark a proof as used in the memory that all processes share (RFC 9449 §11.1).

        Raise Refused when it was used before, and IssuerUnavailable when the memory fails.
        """
        if proof is None or self._replays is None:
            return
        identifier, kept = f"{proof.jkt} {proof.jti}", presented.kept
        if once.has_used(kept, self._replays, identifier):
            return
        if not await record_use(self._replays, proof.jkt, proof.jti):
            raise self._not_proven(used_before())
        once.note_use(kept, self._replays, identifier)

    def _admit(
        self,
        found: PresentedToken,
        presented: Presented,
        verifier: AnyVerifier,
        known: Known,
        policy: Policy,
    ) -> Principal:
        principal = known.principal
        # Possession of a bound token is proven with every request, and an answer about a limited one is good for one request.
        if principal.jkt is None and principal.x5t is None and not known.limited:
            remember(self._recognised, presented.authorization[0], (verifier, found.token, known))
        self._check(principal, policy)
        return principal

    def _recall(self, presented: Presented) -> Principal | None:
        """Return the caller of a bearer token that was verified before and still holds, without verifying it again."""
        headers = presented.authorization
        if len(headers) != 1:
            return None
        known = self._recognised.get(headers[0])
        if known is None or (not presented.secure and self._is_exposed(presented)):
            return None
        verifier, token, verified = known
        return verified.principal if verifier.holds(verified, token, presented.address) else None

    async def _session(self, presented: Presented) -> Principal | None:
        """Return who is signed in by the request's cookies, wherever it comes from; None where sessions do not count."""
        if self.sessions is None:
            return None
        own = cookies.own_session(presented, self.issuer, self.audience, self.sessions)
        if own is not None or not presented.cookies:
            return own
        return await cookies.kept_session(presented, self._verifiers.values(), self.audience, self.sessions)

    async def _admit_session(self, signed_in: Principal, presented: Presented, policy: Policy) -> Principal:
        if self._is_exposed(presented):
            await cookies.report_exposed(self._here, presented, signed_in, self._exposed)
            raise self._refuse(400, "invalid_request", transport.SESSION_EXPLANATION, "Bearer")
        self._check(signed_in, policy)
        return signed_in

    def _is_exposed(self, presented: Presented) -> bool:
        return transport.is_exposed(presented.secure, presented.address, self.plain_http)

    async def _report_exposed(self, verifier: AnyVerifier, token: str) -> Refused:
        """Report a good token that travelled in the clear, once, and return the refusal."""
        digest = token_format.digest(token)
        if digest not in self._exposed:
            try:
                await verifier.report_exposed(token)
                remember(self._exposed, digest, True)
            except IssuerUnavailable:
                pass  # reported with the next request; refused in any case
        return self._refuse(400, "invalid_request", transport.EXPLANATION, "Bearer")

    def _refuse(
        self, status: int, error: str | None, description: str, scheme: str, scope: str | None = None
    ) -> Refused:
        metadata, algs = self.resource_metadata, self.possession.algs
        return refuse(status, error, description, scheme, metadata, algs, scope=scope)

    def _refusal(self, error: Invalid | IssuerUnavailable, presented: Presented) -> Refused:
        if isinstance(error, TooOften):
            return Refused(429, "too_many_requests", str(error), (("Retry-After", str(error.seconds)),))
        if isinstance(error, Invalid):
            LOG.info("a token was refused: %s", error.reason)
            scheme = scheme_to_name(presented.authorization)
            return self._refuse(401, "invalid_token", str(error), scheme)
        self._outages.note(str(error))
        # Not a 401: a client would throw a good token away because the issuer was out of reach for a moment.
        return Refused(
            503, "temporarily_unavailable", "The token cannot be checked right now.", (("Retry-After", "2"),)
        )

    def _not_proven(self, refused: NotProven) -> Refused:
        if refused.reason:
            LOG.info("a proof of possession was refused: %s", refused.reason)
        answer = self._refuse(401, refused.error, str(refused), refused.scheme)
        nonce = self.possession.nonce() if refused.scheme == "DPoP" else None
        if nonce is not None:  # RFC 9449 §9
            answer.headers = (*answer.headers, ("DPoP-Nonce", nonce))
        return answer

    def fresh_nonce(self, principal: Principal | None) -> str | None:
        """Return the nonce to send to a caller as `DPoP-Nonce`; None if the guard requires none (RFC 9449 §9)."""
        return None if principal is None or principal.jkt is None else self.possession.nonce()

    if not TYPE_CHECKING:  # not by `__getattr__`, which would slow every access to an attribute down
        require, optional = _of_frameworks("require"), _of_frameworks("optional")

    async def close(self) -> None:
        """Stop following revocation feeds and close this event loop's connections to the issuers; using the guard again reopens them."""
        for verifier in self._verifiers.values():
            await verifier.close()
