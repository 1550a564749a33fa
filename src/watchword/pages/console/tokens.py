"""The console's API tokens: everybody's, searched and filtered; created for any owner, rotated, revoked, marked as leaked."""

from watchword.flows import api_tokens
from watchword.flows.api_tokens import NEVER, Issued, TokenInput
from watchword.flows.giving import OPERATOR
from watchword.http import Request, Response
from watchword.http.forms import Form
from watchword.http.operation import convert
from watchword.oauth.errors import OAuthError
from watchword.pages import account, account_tokens, browser, once, scopes
from watchword.pages.account import Person
from watchword.pages.account_tokens import MAX_NAME, NAME_INVALID, OVERLAPS
from watchword.pages.console import frame, links
from watchword.pages.console.links import Place
from watchword.store import api_tokens as store
from watchword.store import token_usage
from watchword.store.api_tokens import ApiToken
from watchword.store.token_usage import SecretUse

STATES = ("all", "active", "expired", "revoked")
REASONS = ("revoked", "compromised")
# The names of the form's fields, by the flow's, where they differ.
FIELDS = {"expires_in": "days"}


async def show(request: Request) -> Response:
    """List tokens."""
    return await answer_list(request, await frame.require(request))


async def answer_list(
    request: Request, person: Person, problem: str | None = None, status: int = 200
) -> Response:
    """Answer the list, with a `problem` where it is shown in place of something else."""
    runtime = request.runtime
    filters = {name: frame.filter_of(request, name) for name in ("search", "owner", "state")}
    state = filters["state"] if filters["state"] in STATES else STATES[0]
    errors: dict[str, object] = {"form": problem} if problem else {}
    try:
        owner = (await api_tokens.resolve_owner(runtime, filters["owner"]))[1] if filters["owner"] else ""
    except OAuthError as error:
        owner, errors["owner"] = "", frame.refused(error)
    rows = (
        []
        if "owner" in errors
        else await runtime.lists.read(
            store.search_tokens,
            search=filters["search"],
            after=frame.after(request, "tokens"),
            limit=frame.PAGE + 1,
            owner=owner,
            state=state,
            now=runtime.now(),
        )
    )
    shown, following = frame.listed(request, "tokens", rows, lambda row: row[1], filters)
    places = await links.find(request, {token.owner_id for token, _ in shown})
    context = {
        "action": frame.address(request, "tokens"),
        "new_url": frame.address(request, "tokens", "new"),
        "tokens": [{**_view(request, token), "owner": places[token.owner_id]} for token, _ in shown],
        "states": list(STATES),
        "next_url": following,
        "values": filters,
        "errors": errors,
    }
    return frame.page(request, person, "tokens", context, status=400 if "owner" in errors else status)


def _view(request: Request, token: ApiToken) -> dict[str, object]:
    runtime = request.runtime
    return {
        "id": token.id,
        "url": frame.address(request, "tokens", token.id),
        "name": token.name,
        "owner_kind": token.owner_kind,
        "scopes": token.scope.split(),
        "resources": [scopes.resource(request, token.resource)],
        "created_at": token.created_at,
        "expires_at": token.expires_at,
        "revoked_at": token.revoked_at,
        "state": account_tokens.state_of(token, runtime.now(), runtime.settings.token_expiry_notice),
    }


async def show_one(request: Request) -> Response:
    """Show one token: its rights, its use, and the actions on it."""
    return await _one(request, await frame.require(request))


async def _one(request: Request, person: Person, errors: dict[str, object] | None = None) -> Response:
    runtime, token = request.runtime, await _find(request)
    uses = await runtime.lists.read(token_usage.list_secret_uses, token.id)
    chain = await runtime.lists.read(store.list_chain, token.id)
    places = await links.find(request, (token.owner_id, token.created_by))
    context = {
        "action": frame.address(request, "tokens", token.id),
        "owner": places[token.owner_id],
        "maker": places[token.created_by],
        "token": {**_view(request, token), "path": token.path, "addresses": list(token.addresses)}
        | {"rate_limit": token.rate_limit, "quota": token.quota, "bound": token.jkt is not None},
        "secrets": [_secret_view(request, use) for use in uses],
        "outcomes": _outcomes(uses),
        "parents": [_view(request, one) for one in chain[:-1]],
        "events_url": f"{frame.address(request, 'events')}?target={token.id}",
        "overlaps": list(OVERLAPS),
        "hidden": once.field(),
        "errors": errors or {},
    }
    return frame.page(request, person, "tokens", context, template="token", status=409 if errors else 200)


async def _find(request: Request) -> ApiToken:
    token = await request.runtime.database.read(store.get_token, request.path_params["id"])
    if token is None:
        raise OAuthError("not_found", "There is no such token.")
    return token


def _secret_view(request: Request, use: SecretUse) -> dict[str, object]:
    return {
        "hint": f"{request.runtime.settings.brand}a_…{use.hint}",
        "created_at": use.created_at,
        "expires_at": use.expires_at,
        "last_used_at": use.last_used_at,
        "last_address": use.last_address,
    }


def _outcomes(uses: list[SecretUse]) -> list[dict[str, object]]:
    """Return how often a token was presented with each outcome, accepted first; `most` is the highest count, for the bars."""
    total: dict[str, int] = {}
    for use in uses:
        for outcome, count in use.outcomes.items():
            total[outcome] = total.get(outcome, 0) + count
    most = max(total.values(), default=1)
    ordered = sorted(total.items(), key=lambda one: (one[0] != "active", -one[1]))
    return [{"outcome": name, "count": count, "most": most} for name, count in ordered]


async def change(request: Request) -> Response:
    """Rotate or revoke a token."""
    found = await frame.require_fresh(request)
    form = account.form_of(request, found)
    token, what = await _find(request), form.get("do")
    if what == "rotate":
        return await _rotate(request, found, token, form)
    reason = form.get("reason")
    if what != "revoke" or reason not in REASONS:
        raise OAuthError("invalid_request", "There is no such change.", field="do")
    await api_tokens.revoke(frame.acting(request, found), token.id, reason=reason, actor=found[1].id)
    return frame.done(request, "token_revoked", "tokens", token.id)


async def _rotate(request: Request, person: Person, token: ApiToken, form: Form) -> Response:
    session, user = person
    runtime = once.runtime_for(frame.acting(request, person), session, form, token.id)
    overlap, owner = account_tokens.overlap_of(form), await _owner(request, token.owner_id)
    try:
        issued = await api_tokens.rotate(runtime, token.id, overlap=overlap, actor=user.id)
    except once.SentBefore:
        return frame.done(request, "token_once", "tokens", token.id)
    except OAuthError as error:  # it expired, or somebody revoked it meanwhile
        return await _one(request, person, frame.problems(error, form))
    until = request.runtime.now() + overlap if overlap else None
    return _secret(request, person, issued, owner, "rotated", until)


async def _owner(request: Request, owner_id: str) -> Place:
    """Return whose a token is, as it is shown; asked before there is a secret, which only the answer can tell."""
    return (await links.find(request, [owner_id]))[owner_id]


def _secret(
    request: Request, person: Person, issued: Issued, owner: Place, made: str, old_until: int | None
) -> Response:
    token = issued.token
    context = {
        "made": made,
        "token": {"name": token.name, "expires_at": token.expires_at, "owner_kind": token.owner_kind},
        # Shown because a mistyped user name creates a token of an application of that name.
        "owner": owner,
        "secret": issued.secret,
        "old_until": old_until,
        "here": browser.here(request, f"{frame.path('tokens', issued.token.id)}?notice=token_once"),
        "done_url": frame.address(request, "tokens", token.id),
    }
    return frame.page(request, person, "tokens", context, template="token_secret")


async def show_new(request: Request) -> Response:
    """Show the form for a token."""
    return _new(request, await frame.require_fresh(request))


def _new(
    request: Request, person: Person, form: Form | None = None, errors: dict[str, object] | None = None
) -> Response:
    settings = request.runtime.settings
    typed = {name: (form.get(name) or "") if form else "" for name in ("name", "owner", "scope", "resource")}
    offered = account_tokens.offered_days(settings)
    days = (form.get("days") or "") if form else str(account_tokens.usual_days(settings))
    context = {
        "action": frame.address(request, "tokens", "new"),
        "resources": [scopes.resource(request, uri) for uri in request.runtime.settings.apis],
        "days": offered,
        "never": settings.lets_api_tokens_live_for_ever,
        "values": {**typed, "days": int(days) if days in map(str, offered) else days},
        "errors": errors or {},
        "hidden": once.field(),
    }
    return frame.page(request, person, "tokens", context, template="token_new", status=400 if errors else 200)


async def create(request: Request) -> Response:
    """Create a token for an application, a client or a person, and show it this once."""
    found = await frame.require_fresh(request)
    form = account.form_of(request, found)
    runtime, (session, user) = request.runtime, found
    wrong = _wrong(request, form)
    if wrong:
        return _new(request, found, form, wrong)
    try:
        given = convert(_given(form), TokenInput)
        owner = await api_tokens.resolve_owner(runtime, given.owner)
        place = await _owner(request, owner[1])
        inside = once.runtime_for(frame.acting(request, found), session, form)
        issued = await api_tokens.create(inside, given, owner=owner, actor=user.id, giver=OPERATOR)
    except once.SentBefore:
        return frame.done(request, "token_once", "tokens")
    except OAuthError as error:
        return _new(request, found, form, frame.problems(error, form, FIELDS))
    return _secret(request, found, issued, place, "created", None)


def _wrong(request: Request, form: Form) -> dict[str, object]:
    """Return what is wrong with the form of a new token, by field."""
    wrong: dict[str, object] = {
        name: "required" for name in ("name", "owner", "scope") if not (form.get(name) or "").strip()
    }
    if len((form.get("name") or "").strip()) > MAX_NAME:
        wrong["name"] = NAME_INVALID
    resource, days = form.get("resource") or "", form.get("days") or ""
    if resource and resource not in request.runtime.settings.apis:
        wrong["resource"] = "invalid"
    offered = [str(count) for count in account_tokens.offered_days(request.runtime.settings)]
    if days not in (NEVER, *(offered or [""])):
        wrong["days"] = "invalid"
    return wrong


def _given(form: Form) -> dict[str, object]:
    """Return the form's values as the admin API takes them."""
    days = form.get("days") or ""
    return {
        "name": (form.get("name") or "").strip(),
        "owner": (form.get("owner") or "").strip(),
        "scope": " ".join((form.get("scope") or "").split()),
        "resource": form.get("resource") or None,
        "expires_in": NEVER if days == NEVER else int(days) * account_tokens.DAY if days else None,
    }
