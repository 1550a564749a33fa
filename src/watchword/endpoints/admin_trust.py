"""The JSON API of trust rules: whose assertions become tokens here (RFC 7523)."""

from typing import Annotated

import msgspec

from watchword.flows import caller, paging
from watchword.flows.trust import trust_rules
from watchword.flows.trust.trust_rules import TrustInput
from watchword.http.operation import Call, Operation
from watchword.oauth.errors import OAuthError
from watchword.store import trust as store
from watchword.store.trust import Rule

READ, WRITE = "watchword:trust:read", "watchword:trust:write"


class TrustView(msgspec.Struct, frozen=True, omit_defaults=True):
    """A trust rule; durations in seconds, times in Unix seconds."""

    id: str
    name: str
    kind: str
    issuer: str
    audience: str
    scope: str
    created_at: int
    created_by: str
    max_lifetime: int
    token_lifetime: int
    algorithms: tuple[str, ...]
    subject: str = ""
    claims: dict[str, str] = {}
    resources: tuple[str, ...] = ()
    clients: tuple[str, ...] = ()
    email_domains: tuple[str, ...] = ()
    jwks: dict[str, object] | None = None
    jwks_uri: str | None = None
    networks: tuple[str, ...] = ()


class TrustPage(msgspec.Struct, frozen=True):
    """A page of rules; `next` is the cursor of the page after it."""

    rules: list[TrustView]
    next: str | None


class TrustQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How to page through rules."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=200)] = 50
    cursor: paging.Cursor = ""


def view(rule: Rule) -> TrustView:
    """Return a rule as people and programs see it."""
    fields = msgspec.structs.asdict(rule)
    fields["scope"] = " ".join(rule.scope)
    fields["claims"] = dict(rule.claims)
    fields["jwks"] = dict(rule.jwks) if rule.jwks is not None else None
    return TrustView(**fields)


async def create_trust(call: Call) -> TrustView:
    """Trust an issuer's assertions for a scope."""
    call.caller.check_may_give(call.body.scope.split())
    if call.body.networks and not call.caller.may(caller.ALL):
        # The right to trust issuers does not include what this server may reach behind its firewall.
        raise OAuthError(
            "insufficient_scope", "Only administrators may name private networks.", field="networks"
        )
    return view(await trust_rules.create(call.request.runtime, call.body, actor=call.caller.actor))


async def list_trust(call: Call) -> TrustPage:
    """List the trust rules."""
    runtime, query = call.request.runtime, call.query
    after = paging.open_cursor(runtime, "trust", query.cursor)
    found = await runtime.database.read(store.list_rules, after=after, limit=query.limit + 1)
    page, following = paging.page(runtime, "trust", found, query.limit, lambda rule: rule.id)
    return TrustPage([view(rule) for rule in page], following)


async def show_trust(call: Call) -> TrustView:
    """Show a trust rule."""
    return view(await trust_rules.show(call.request.runtime, call.path("id")))


async def delete_trust(call: Call) -> None:
    """Delete a trust rule; the tokens that were issued by it are revoked."""
    await trust_rules.delete(call.request.runtime, call.path("id"), actor=call.caller.actor)


OPERATIONS = (
    Operation(
        "POST",
        "/trust",
        create_trust,
        "Trust an issuer's assertions",
        WRITE,
        body=TrustInput,
        answer=TrustView,
        status=201,
    ),
    Operation("GET", "/trust", list_trust, "List the trust rules", READ, query=TrustQuery, answer=TrustPage),
    Operation("GET", "/trust/{id}", show_trust, "Show a trust rule", READ, answer=TrustView),
    Operation("DELETE", "/trust/{id}", delete_trust, "Delete a trust rule", WRITE),
)
