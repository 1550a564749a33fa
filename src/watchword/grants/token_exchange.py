"""RFC 8693: the token exchange grant: a narrower token for a token, by impersonation or delegation."""

from collections.abc import Mapping

from msgspec import structs

from watchword.flows import membership, minting, subjects
from watchword.flows.minting import AccessGrant
from watchword.flows.runtime import Runtime
from watchword.flows.token_request import TokenRequest
from watchword.flows.trust import exchanges, identity_assertions
from watchword.flows.trust.exchanges import Presented
from watchword.oauth import exchange, identity_assertion
from watchword.oauth.exchange import Exchanged, ExchangeRequest
from watchword.oauth.parameters import Parameters
from watchword.oauth.scopes import parse_scope
from watchword.store import tokens


def read(form: Parameters) -> ExchangeRequest:
    """Return the parameters of an exchange (§2.1); raise `invalid_request` or `invalid_scope`."""
    request = ExchangeRequest(
        subject_token_type=form.require("subject_token_type"),
        actor_token_type=form.get("actor_token_type"),
        requested_token_type=form.get("requested_token_type"),
        targets=(*form.all("resource"), *form.all("audience")),
        scope=parse_scope(form.get("scope") or ""),
        details=form.get("authorization_details"),
    )
    exchange.check_types(request, has_actor_token=form.get("actor_token") is not None)
    return request


async def handle(runtime: Runtime, request: TokenRequest) -> Mapping[str, object]:
    """Issue a token that can do no more and lives no longer than the subject token."""
    client, form = request.client, request.form
    if form.get("requested_token_type") == identity_assertion.TOKEN_TYPE:
        return await identity_assertions.issue(runtime, client, form)
    subject_token, actor_token = form.require("subject_token"), form.get("actor_token")
    asked = read(form)
    subject = await exchanges.read(runtime, client, subject_token, asked.subject_token_type, "subject_token")
    actor = None
    if actor_token is not None:
        actor = await exchanges.read(runtime, client, actor_token, asked.actor_token_type, "actor_token")
    exchanged = decide(runtime, request, asked, subject, actor)
    if exchanged.act is not None and actor is not None and actor.kind == "user":
        named = actor.name or subjects.subject_for(runtime, client, actor.facts.subject)
        exchanged = structs.replace(exchanged, act={**exchanged.act, "sub": named})
    return await _issue(runtime, request, exchanged, subject)


def decide(
    runtime: Runtime,
    request: TokenRequest,
    asked: ExchangeRequest,
    subject: Presented,
    actor: Presented | None,
) -> Exchanged:
    """Apply the rules of the exchange to what was presented."""
    client, binding = request.client, request.binding
    narrowing = exchanges.is_narrowing(asked, subject.facts, client)
    return exchange.decide(
        exchanges.with_targets(asked, subject.facts, narrowing),
        subject.facts,
        actor.facts if actor else None,
        exchanges.policy_of(runtime, client, subject.facts, narrowing),
        client_id=client.client_id,
        proven_jkt=binding.jkt,
        proven_x5t=binding.x5t,
        now=runtime.now(),
    )


async def _issue(
    runtime: Runtime, request: TokenRequest, exchanged: Exchanged, subject: Presented
) -> Mapping[str, object]:
    client, now = request.client, runtime.now()
    claims: dict[str, object] = {**subject.kept, **request.confirmation()}
    if subject.user is not None:
        claims |= membership.claims(subject.user, exchanged.scope)
    claims["parents"] = exchanges.check_depth(subject.parents)
    if subject.name is not None:
        claims["sub"] = subject.name
    if exchanged.act is not None:
        claims["act"] = exchanged.act
    if exchanged.details:  # RFC 9396 §9
        claims["authorization_details"] = exchanged.details
    if subject.kind != "user":
        claims["subject_kind"] = subject.kind
    grant = AccessGrant(
        client=client,
        format="jwt" if exchanged.issued_token_type == exchange.JWT else None,
        subject=exchanged.subject,
        scope=exchanged.scope,
        audience=exchanged.audience,
        lifetime=min(exchanged.expires_at - now, minting.lifetime_of(runtime, client)),
        grant_id=subject.grant_id,
        claims=claims,
    )
    minted = await minting.mint(runtime, grant, now)
    await runtime.database.write(
        tokens.store_exchanged,
        minted.row,
        client_id=client.client_id,
        subject=exchanged.subject,
        details={
            "scope": " ".join(exchanged.scope),
            "audience": " ".join(exchanged.audience),
            "parent": subject.parents[-1],
            "delegated": exchanged.act is not None,
        },
        now=now,
    )
    answer = minting.token_response(minted, exchanged.scope, exchanged.details)
    return {**answer, "issued_token_type": exchanged.issued_token_type}  # §2.2.1
