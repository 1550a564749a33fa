"""RFC 8693: the facts and the policy of an exchange, as the rules in `oauth.exchange` take them.

Theory of operation. A client that is merely registered for the grant may narrow its own tokens: one that was issued to it, or an API
token in its possession, for the same audience. Tokens of others and other audiences need rules that an administrator gave the client
(`Client.token_exchange`). A token that is limited to addresses, paths or a number of uses is never exchanged: the new one would not
have the limit.
"""

from collections.abc import Mapping

import msgspec
from msgspec import structs

from watchword.flows import detail_types, introspection, lineage, membership
from watchword.flows.clients import client_registry
from watchword.flows.introspection import Answer
from watchword.flows.runtime import Runtime
from watchword.flows.token_verification import Use
from watchword.jose import jws
from watchword.oauth import exchange, token_format
from watchword.oauth.authorization_details import Detail
from watchword.oauth.clients import Client
from watchword.oauth.errors import OAuthError
from watchword.oauth.exchange import ExchangePolicy, ExchangeRequest, LiveToken
from watchword.oauth.scopes import parse_scope
from watchword.store import users
from watchword.store.users import User

KEPT_CLAIMS = ("auth_time", "acr", "amr")
DEFAULT_LIFETIME = 300


class Presented(msgspec.Struct, frozen=True):
    """An active token that was presented; `kind` is that of its subject, `parents` are the token's own parents and itself.

    `name` is the pairwise `sub` in the token, if it has one: the new token keeps it, so that the exchange does not reveal the account
    (OpenID Connect Core §8.1). `user` is the person who agreed to what the token says of them, None for any other subject and for an
    API token, to which nobody agreed (AP-06).
    """

    facts: LiveToken
    kind: str
    name: str | None
    grant_id: str | None
    parents: tuple[str, ...]
    kept: dict[str, object]
    user: User | None = None


async def read(runtime: Runtime, client: Client, token: str, token_type: str | None, name: str) -> Presented:
    """Return the facts of the token in the parameter `name`.

    Raises `invalid_request` when it is not active, is limited, is not of the stated type, or is that of a person whom the client, or one
    that the token went through, is not for (RFC 8693 §2.2.2).
    """
    if token_type == exchange.JWT and token.count(".") != 2:
        raise exchange.not_valid(name)
    answer = await introspection.introspect(runtime, token, Use())
    if not answer.active or "limited" in answer.claims:
        raise exchange.not_valid(name)
    facts, kind, parents = _facts(runtime, client, answer), _kind(answer), _parents(answer, token)
    user = await runtime.database.read(users.get_user, answer.subject) if kind == "user" else None
    if user is not None:
        # TK-08: the person may have left a group since, or scope or client have become ones for members.
        if not membership.lets_in(client, user):
            raise OAuthError("invalid_request", membership.NOT_FOR)
        for client_id in lineage.clients_of(parents):
            holder = await client_registry.find(runtime, client_id)
            if holder is not None and not membership.lets_in(holder, user):
                raise exchange.not_valid(name)
        open_scope = membership.open_to(runtime.settings, user, facts.scope)
        facts = structs.replace(facts, scope=open_scope)
    return Presented(
        facts=facts,
        kind=kind,
        name=_name(answer),
        grant_id=answer.grant_id,
        parents=parents,
        kept={name: answer.claims[name] for name in KEPT_CLAIMS if name in answer.claims},
        user=user if facts.kind != "api_token" else None,
    )


def _facts(runtime: Runtime, client: Client, answer: Answer) -> LiveToken:
    claims = answer.claims
    cnf, exp = claims.get("cnf"), claims.get("exp")
    bound = cnf if isinstance(cnf, dict) else {}
    act, may_act = claims.get("act"), claims.get("may_act")
    client_id = claims.get("client_id")
    kind = str(claims["token_kind"])
    scope = parse_scope(str(claims.get("scope", "")))
    mine = set(client.resources or (runtime.settings.resource,))
    if kind == "api_token" and set(answer.audience) <= mine:  # an API token belongs to its bearer
        client_id = client.client_id
    if kind == "api_token":  # AP-06: it is no proof that its owner agreed to tell anybody who they are
        scope = tuple(one for one in scope if one != "openid")
    return LiveToken(
        kind=kind,
        subject=answer.subject,
        client_id=str(client_id) if client_id is not None else None,
        scope=scope,
        audience=answer.audience,
        expires_at=exp if isinstance(exp, int) else None,
        act=act if isinstance(act, dict) else None,
        may_act=may_act if isinstance(may_act, dict) else None,
        jkt=bound.get("jkt"),
        x5t=bound.get("x5t#S256"),
        details=_details(claims),
    )


def _details(claims: Mapping[str, object]) -> tuple[Detail, ...]:
    details = claims.get("authorization_details")  # a list, or a tuple before it was serialized
    return tuple(details) if isinstance(details, list | tuple) else ()


def _kind(answer: Answer) -> str:
    if "subject_kind" in answer.claims:
        return str(answer.claims["subject_kind"])
    if answer.subject == answer.claims.get("client_id"):
        return "client"
    return "application" if answer.subject.startswith("application:") else "user"


def _name(answer: Answer) -> str | None:
    sub = str(answer.claims["sub"])
    return sub if sub != answer.subject else None


def _parents(answer: Answer, token: str) -> tuple[str, ...]:
    claims = answer.claims
    own: tuple[str, ...]
    if claims["token_kind"] == "api_token":
        own = (f"token:{claims['jti']}",)
    elif "." in token:
        # Whoever has a key that leaked makes tokens with it, and has them exchanged for ones that another key signs (KR-03).
        own = (f"key:{jws.peek(token).kid}", f"jti:{claims['jti']}")
    else:
        own = (f"digest:{token_format.ordered_digest(token).hex()}",)
    holder = claims.get("client_id")
    named = (*answer.parents, *own, *((f"client:{holder}",) if holder else ()))
    return tuple(dict.fromkeys(named))


def policy_of(runtime: Runtime, client: Client, subject: LiveToken, narrowing: bool) -> ExchangePolicy:
    """Return what a client may do with a subject token; `narrowing` is as `is_narrowing` says."""
    return structs.replace(
        _policy_of(runtime, client, subject, narrowing),
        detail_types=detail_types.of(runtime.settings),
        registered_details=client.authorization_details_types,
    )


def _policy_of(runtime: Runtime, client: Client, subject: LiveToken, narrowing: bool) -> ExchangePolicy:
    rules = client.token_exchange
    if narrowing:
        lifetime = rules.max_lifetime if rules else DEFAULT_LIFETIME
        return ExchangePolicy(
            subject.audience, client.scope, may_impersonate=True, may_delegate=False, max_lifetime=lifetime
        )
    if rules is None:  # its own token for another audience: there is none that it may get
        return ExchangePolicy((), client.scope, may_impersonate=True, may_delegate=False)
    return ExchangePolicy(
        rules.audiences or client.resources or (runtime.settings.resource,),
        client.scope,
        resources=rules.serves,
        may_impersonate=rules.impersonate,
        may_delegate=rules.delegate,
        max_lifetime=rules.max_lifetime,
    )


def is_narrowing(request: ExchangeRequest, subject: LiveToken, client: Client) -> bool:
    """Whether a client only wants a narrower version of its own token, for the same audience."""
    return (
        subject.client_id == client.client_id
        and request.actor_token_type is None
        and set(request.targets) <= set(subject.audience)
    )


def with_targets(request: ExchangeRequest, subject: LiveToken, narrowing: bool) -> ExchangeRequest:
    """Return a request with targets: a narrowed token keeps its audience when the request names none."""
    if narrowing and not request.targets:
        return structs.replace(request, targets=subject.audience)
    return request


def check_depth(parents: tuple[str, ...]) -> tuple[str, ...]:
    """Return the parents of a new token; raise `invalid_request` when the chain is too long (TK-14)."""
    if len(parents) > lineage.MAX_PARENTS:
        raise OAuthError(
            "invalid_request", "This token was exchanged too often already.", field="subject_token"
        )
    return parents
