"""Authentication of callers of this server's own API, by any token that is for this server (RFC 6750, RFC 9449)."""

from collections.abc import Collection, Iterable

import msgspec

from watchword.flows import giving, introspection, proofs
from watchword.flows.client_auth import Credentials
from watchword.flows.clients import client_registry
from watchword.flows.giving import ALL, Giver
from watchword.flows.introspection import Answer
from watchword.flows.runtime import Runtime
from watchword.flows.token_verification import Use
from watchword.oauth import bearer, dpop, mtls, token_format
from watchword.oauth.bearer import PresentedToken
from watchword.oauth.errors import OAuthError
from watchword.store.holders import Holder

__all__ = ["ALL", "Caller", "authenticate", "read"]


class Caller(msgspec.Struct, frozen=True):
    """An authenticated caller; `expires_at` in Unix seconds.

    `actor` names it in the audit trail: the identifier of an API token, the subject of a short-lived access token. `subject` is the
    server's own identifier, `sub` the claim (it may be pairwise); `client_id` and `grant_id` are those of an OAuth access token.
    `is_limited` says that the token is restricted to some addresses, some paths or a number of uses. `scheme` is the one that the token
    is presented by, as a challenge names it; `holder` is what a change depends on that is made by it.
    """

    actor: str
    subject: str
    sub: str
    scope: frozenset[str]
    token_id: str
    token_kind: str
    expires_at: int | None
    client_id: str | None = None
    grant_id: str | None = None
    is_limited: bool = False
    scheme: str = "Bearer"
    holder: Holder = Holder("")

    @property
    def giver(self) -> Giver:
        """What the caller may give to others."""
        return Giver(self.scope, self.expires_at, self.is_limited)

    def may(self, scope: str) -> bool:
        """Whether the caller holds a scope, or `watchword:admin`, which stands for every scope over this server."""
        return self.giver.may(scope)

    def ended(self) -> OAuthError:
        """Return the refusal of a change whose token ended while it was asked for."""
        return _refused("the token ended meanwhile", self.scheme)

    def refusal(self, code: str, description: str, *, scope: str | None = None) -> OAuthError:
        """Return a refusal whose challenge names the scheme of this caller's token and the `scope` that it needs (RFC 6750 §3, RFC 9449
        §7.1)."""
        challenge = bearer.challenge(self.scheme, {"error": code, "scope": scope, "algs": _algs(self.scheme)})
        return OAuthError(code, description, challenge=challenge)

    def check_may_give(self, scope: Iterable[str]) -> None:
        """Raise `insufficient_scope` when the caller may not give a scope to others (AP-05)."""
        self.giver.check(scope)

    def check_may_renew(self, scope: Iterable[str], expires_at: int | None) -> None:
        """Raise `insufficient_scope` when a new secret of a token would give a scope over this server that the caller lacks, or would
        outlive the caller with it (AP-05)."""
        power = giving.reserved(scope)
        self.check_may_give(power)
        if self.giver.outlives(power, expires_at):
            raise OAuthError("insufficient_scope", "Such a token cannot outlive the one that rotates it.")


async def authenticate(
    runtime: Runtime,
    credentials: Credentials,
    path: str,
    *,
    about_itself: bool = False,
    any_audience: bool = False,
) -> Caller:
    """Return the caller; raise `invalid_token` with the right challenge (RFC 6750 §3).

    A call that is only `about_itself` is open to a token for any resource and path. Raises `too_many_requests` for a token that is
    used too often.
    """
    presented = read(credentials.authorization)
    here = None if about_itself or any_audience else (runtime.settings.issuer, runtime.settings.resource)
    answer = await introspection.introspect(
        runtime, presented.token, Use(credentials.address, path, here, any_path=about_itself)
    )
    claims = answer.claims
    is_for_here = about_itself or any_audience or _is_for(runtime, answer.audience)
    if answer.opens_in is not None and is_for_here:  # not a 401: a client would throw a good token away
        raise OAuthError("too_many_requests", "This token is used too often.", retry_after=answer.opens_in)
    if not answer.active or not is_for_here:
        scheme = bearer.scheme_to_name((credentials.authorization or "",))
        raise _refused(f"not active or not for this server: {answer.reason}", scheme)
    cnf = claims.get("cnf")
    if presented.scheme == "dpop" and not (isinstance(cnf, dict) and "jkt" in cnf):  # RFC 9449 §7.1
        raise _refused("the token is not bound to a key")
    if isinstance(cnf, dict):
        client = await client_registry.find(runtime, answer.client_id) if answer.client_id else None
        algorithms = proofs.algorithms_of(client)
        await _check_possession(runtime, credentials, presented, path, cnf, algorithms)
    exp = claims.get("exp")
    return Caller(
        actor=str(claims["jti"]) if claims["token_kind"] == "api_token" else answer.subject,
        subject=answer.subject,
        sub=str(claims["sub"]),
        client_id=answer.client_id,
        grant_id=answer.grant_id,
        scope=frozenset(str(claims.get("scope", "")).split()),
        token_id=str(claims["jti"]),
        token_kind=str(claims["token_kind"]),
        expires_at=exp if isinstance(exp, int) else None,
        is_limited="limited" in claims,
        scheme="DPoP" if presented.scheme == "dpop" else "Bearer",
        holder=_holder(answer, presented.token),
    )


def _holder(answer: Answer, token: str) -> Holder:
    claims = answer.claims
    if claims["token_kind"] == "api_token":
        return Holder(str(claims["jti"]), answer.secret_id)
    return Holder(
        str(claims["jti"]),
        digest=b"" if token.count(".") == 2 else token_format.ordered_digest(token),
        client_id=answer.client_id or "",
        issued_at=answer.issued_at,
    )


def read(
    authorization: str | None, body_token: str | None = None, query_token: str | None = None
) -> PresentedToken:
    """Return the one token of a request; raise `invalid_token` or `invalid_request` with the challenge (RFC 6750 §3.1)."""
    headers = () if authorization is None else (authorization,)
    try:
        found = bearer.read_request(headers, body_token=body_token, query_token=query_token)
    except OAuthError as error:
        challenge = _challenge(bearer.scheme_to_name(headers), error.code, error.description)
        raise OAuthError(error.code, error.description, challenge=challenge) from None
    if found is None:  # §3.1: no error code when nothing was presented
        raise OAuthError(
            "invalid_token",
            "Send an access token in the header Authorization, after Bearer.",
            challenge=_challenge(bearer.scheme_to_name(headers)),
        )
    return found


def _is_for(runtime: Runtime, audience: tuple[str, ...]) -> bool:
    return runtime.settings.issuer in audience or runtime.settings.resource in audience


async def _check_possession(
    runtime: Runtime,
    credentials: Credentials,
    presented: PresentedToken,
    path: str,
    cnf: dict[str, object],
    algorithms: Collection[str],
) -> None:
    x5t = cnf.get("x5t#S256")
    if isinstance(x5t, str) and not mtls.is_bound(credentials.certificate, x5t):  # RFC 8705 §3
        raise _refused("another certificate, or none")
    jkt = cnf.get("jkt")
    if isinstance(x5t, str) and jkt is None:
        return
    if not isinstance(jkt, str) or presented.scheme != "dpop" or credentials.dpop is None:  # RFC 9449 §7.1
        what = "The token is bound to a key: send it with the scheme DPoP and a proof."
        raise _proof_refused(OAuthError("invalid_token", what), algorithms)
    try:
        await proofs.check(
            runtime,
            credentials.dpop,
            credentials.method,
            path,
            access_token=presented.token,
            expected_jkt=jkt,
            algorithms=algorithms,
        )
    except OAuthError as error:
        raise _proof_refused(error, algorithms) from None


def _proof_refused(error: OAuthError, algorithms: Collection[str]) -> OAuthError:
    # RFC 9449 §7.1 and §9: a resource answers 401 with a challenge, unlike the token endpoint
    return OAuthError(
        error.code,
        error.description,
        detail=error.detail,
        challenge=_challenge("DPoP", error.code, error.description, dpop.names_of(algorithms)),
        status=401,
    )


def _refused(detail: str, scheme: str = "Bearer") -> OAuthError:
    error, description = "invalid_token", "The access token is not valid here."
    return OAuthError(error, description, detail=detail, challenge=_challenge(scheme, error, description))


def _challenge(
    scheme: str, error: str | None = None, description: str | None = None, algs: str | None = None
) -> str:
    """Return the value of `WWW-Authenticate` (RFC 6750 §3, RFC 9449 §7.1); `algs` are those of the client, where it is known."""
    told = {"error": error, "error_description": description, "algs": algs or _algs(scheme)}
    return bearer.challenge(scheme, told)


def _algs(scheme: str) -> str | None:
    return dpop.ALGS if scheme == "DPoP" else None
