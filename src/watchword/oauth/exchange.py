"""RFC 8693: token exchange.

Owns every rule about who may exchange which token for what. Looking tokens up, checking that they are active and proof of possession
happen before; what comes in here are facts. Without an actor the client acts as the subject (impersonation); with one, the new token
names the actor in `act` (delegation). An exchange can only reduce rights: scope, details and lifetime never grow, and the audience is
one that the client's policy names.
"""

from collections.abc import Mapping

import msgspec

from watchword.oauth.authorization_details import Detail, DetailType, narrow, remaining
from watchword.oauth.errors import OAuthError
from watchword.oauth.scopes import excess

ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"
JWT = "urn:ietf:params:oauth:token-type:jwt"
ID_TOKEN = "urn:ietf:params:oauth:token-type:id_token"
# What may be presented, and what may be requested: never a refresh token, never a token of unknown type.
SUBJECT_TYPES = (ACCESS_TOKEN, JWT)
REQUESTED_TYPES = (ACCESS_TOKEN, JWT)

MAX_ACTORS = 4
MAX_TARGETS = 10

Claims = Mapping[str, object]


class LiveToken(msgspec.Struct, frozen=True):
    """A token that was just found active; `kind` is "access_token" or "api_token", `expires_at` in Unix seconds.

    `act` and `may_act` are its claims of that name, `jkt` and `x5t` what it is bound to.
    """

    kind: str
    subject: str
    client_id: str | None
    scope: tuple[str, ...]
    audience: tuple[str, ...]
    expires_at: int | None
    act: Claims | None = None
    may_act: Claims | None = None
    jkt: str | None = None
    x5t: str | None = None
    details: tuple[Detail, ...] = ()


class ExchangePolicy(msgspec.Struct, frozen=True):
    """What a client may do by exchange: the audiences and scopes that it may get, in which way, and for how many seconds.

    `resources` are the APIs that the client itself implements: it may exchange tokens that were sent to them. `detail_types` are the
    types that the server knows (RFC 9396), `registered_details` those of them that the client may use.
    """

    audiences: tuple[str, ...]
    scope: tuple[str, ...]
    resources: tuple[str, ...] = ()
    may_impersonate: bool = False
    may_delegate: bool = True
    max_lifetime: int = 300
    detail_types: Mapping[str, DetailType] = msgspec.field(default_factory=dict)
    registered_details: tuple[str, ...] = ()


class ExchangeRequest(msgspec.Struct, frozen=True):
    """The parameters of an exchange, `details` not parsed yet; `targets` are all values of `audience` and `resource`."""

    subject_token_type: str
    actor_token_type: str | None = None
    requested_token_type: str | None = None
    targets: tuple[str, ...] = ()
    scope: tuple[str, ...] = ()
    details: str | None = None


class Exchanged(msgspec.Struct, frozen=True):
    """The contents of the new token; `act` is None for impersonation of a subject whose token had none."""

    subject: str
    audience: tuple[str, ...]
    scope: tuple[str, ...]
    expires_at: int
    issued_token_type: str
    act: Claims | None = None
    details: tuple[Detail, ...] = ()


def check_types(request: ExchangeRequest, *, has_actor_token: bool) -> None:
    """Raise `invalid_request` for token types that are not exchanged here (§2.1), before any token is looked up."""
    if request.subject_token_type not in SUBJECT_TYPES:
        raise _bad("This subject_token_type is not accepted.", "subject_token_type")
    if has_actor_token != (request.actor_token_type is not None):
        raise _bad("actor_token and actor_token_type go together.", "actor_token_type")
    if request.actor_token_type is not None and request.actor_token_type not in SUBJECT_TYPES:
        raise _bad("This actor_token_type is not accepted.", "actor_token_type")
    if request.requested_token_type not in (None, *REQUESTED_TYPES):
        raise _bad("This requested_token_type is not issued.", "requested_token_type")


def decide(
    request: ExchangeRequest,
    subject: LiveToken,
    actor: LiveToken | None,
    policy: ExchangePolicy,
    *,
    client_id: str,
    proven_jkt: str | None = None,
    proven_x5t: str | None = None,
    now: int,
) -> Exchanged:
    """Decide an exchange whose types were checked; `actor` is None when no actor token was sent.

    Raises `invalid_request`, `invalid_target`, `invalid_scope` (§2.2.2) or `invalid_authorization_details`.
    """
    _check_time(subject, now, "subject_token")
    if actor is not None:
        _check_time(actor, now, "actor_token")
    _check_holder(subject, policy, client_id, "subject_token")
    _check_possession(subject, client_id, proven_jkt, proven_x5t, "subject_token")
    if actor is not None:
        _check_holder(actor, policy, client_id, "actor_token")
        _check_actor(subject, actor, policy, client_id)
        _check_possession(actor, client_id, proven_jkt, proven_x5t, "actor_token")
    act = _act(subject, actor, policy, client_id)
    details = _details(request, subject, policy)
    expires_at = now + policy.max_lifetime
    return Exchanged(
        subject=subject.subject,
        audience=_audience(request, policy),
        scope=_scope(request, subject, policy, may_be_empty=bool(details)),
        expires_at=min(
            expires_at, subject.expires_at or expires_at, (actor and actor.expires_at) or expires_at
        ),
        issued_token_type=request.requested_token_type or ACCESS_TOKEN,
        act=act,
        details=details,
    )


def not_valid(name: str) -> OAuthError:
    """Return the refusal of a token that is not active, or not what it is said to be; `name` is the parameter that has it."""
    return _bad(f"The {name} is not valid.", name)


def _check_time(token: LiveToken, now: int, name: str) -> None:
    if token.expires_at is not None and token.expires_at <= now:
        raise not_valid(name)


def _check_holder(token: LiveToken, policy: ExchangePolicy, client_id: str, name: str) -> None:
    # The client that a token was issued to and the service that it was sent to may exchange it; nobody who stole it.
    if token.client_id != client_id and not set(token.audience) & set(policy.resources):
        raise _bad(f"The {name} was neither issued to this client nor meant for it.", name)


def _check_actor(subject: LiveToken, actor: LiveToken, policy: ExchangePolicy, client_id: str) -> None:
    # Without the right to impersonate, the actor must be the client itself: not its caller, nor anybody else whose token it received.
    is_own = actor.client_id == client_id and (actor.kind != "api_token" or actor.subject != subject.subject)
    if not is_own and not policy.may_impersonate:
        raise _bad("The actor_token must be this client's own.", "actor_token")


def _check_possession(token: LiveToken, client_id: str, jkt: str | None, x5t: str | None, name: str) -> None:
    # An exchange must not strip a token of its binding. A service cannot prove its caller's key; it has checked the caller's proof.
    if token.client_id != client_id:
        return
    if (token.jkt is not None and token.jkt != jkt) or (token.x5t is not None and token.x5t != x5t):
        raise _bad("The token is bound to a key: prove its possession.", name)


def _act(
    subject: LiveToken, actor: LiveToken | None, policy: ExchangePolicy, client_id: str
) -> Claims | None:
    if actor is None:
        if not policy.may_impersonate or not _may_act(subject, client_id, client_id):
            raise _bad(
                "This client must say who acts: send an actor_token, or have it allowed to impersonate.",
                "actor_token",
            )
        return subject.act  # §4.1: earlier actors stay on record
    if not policy.may_delegate or not _may_act(subject, actor.subject, actor.client_id):
        raise _bad("The actor may not act for this subject.", "actor_token")
    act: dict[str, object] = {"sub": actor.subject}
    if actor.client_id is not None and actor.client_id != actor.subject:
        act["client_id"] = actor.client_id
    if subject.act is not None:
        act["act"] = subject.act
    if depth(act) > MAX_ACTORS:  # TK-14
        raise _bad("The chain of actors is too long.", "subject_token")
    return act


def _may_act(subject: LiveToken, actor_subject: str, actor_client: str | None) -> bool:
    if subject.may_act is None:
        return True
    named = subject.may_act  # §4.4: every member it has must be true of the actor
    known = {"sub": actor_subject, "client_id": actor_client}
    return bool(named) and all(name in known and known[name] == value for name, value in named.items())


def depth(act: object) -> int:
    """Return how many actors an `act` claim names, nested ones included; counts no further than MAX_ACTORS + 1."""
    count = 0
    while isinstance(act, Mapping) and count <= MAX_ACTORS:
        count, act = count + 1, act.get("act")
    return count


def _audience(request: ExchangeRequest, policy: ExchangePolicy) -> tuple[str, ...]:
    wanted = tuple(dict.fromkeys(request.targets))
    if not wanted and len(policy.audiences) == 1:
        return policy.audiences
    if not wanted or len(wanted) > MAX_TARGETS or any(target not in policy.audiences for target in wanted):
        raise OAuthError(
            "invalid_target", "This client may not exchange tokens for that audience.", field="audience"
        )
    return wanted


def _details(request: ExchangeRequest, subject: LiveToken, policy: ExchangePolicy) -> tuple[Detail, ...]:
    # RFC 9396 §6: as with scope, those of the subject that the client may have, or a part that it requests.
    available = remaining(subject.details, policy.detail_types, policy.registered_details)
    return narrow(request.details, available, policy.detail_types, policy.registered_details)


def _scope(
    request: ExchangeRequest, subject: LiveToken, policy: ExchangePolicy, *, may_be_empty: bool
) -> tuple[str, ...]:
    available = tuple(scope for scope in subject.scope if scope in policy.scope)
    if not (available or may_be_empty) or any(scope not in available for scope in request.scope):
        raise excess("The scope exceeds the subject_token or this client's policy.", request.scope, available)
    return request.scope or available


def _bad(description: str, field: str) -> OAuthError:
    return OAuthError("invalid_request", description, field=field)
