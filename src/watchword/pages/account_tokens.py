"""My account: one's own API tokens: created, shown once, rotated with overlap, revoked."""

from watchword.flows import personal_tokens
from watchword.flows.api_tokens import Issued
from watchword.http import Request, Response
from watchword.http.forms import Form
from watchword.oauth.errors import OAuthError
from watchword.pages import account, browser, demanded, once, scopes
from watchword.pages.account import Person
from watchword.pages.render import Problem
from watchword.settings import Settings
from watchword.store.api_tokens import ApiToken
from watchword.store.token_usage import SecretUse

DAY = 86_400
DAYS = (7, 30, 90, 180, 365)
OVERLAPS = (86_400, 3_600, 604_800, 0)
MAX_NAME = 80
NAME_INVALID = Problem("name_invalid", {"maximum": MAX_NAME})


async def show(request: Request) -> Response:
    """List one's own tokens."""
    found = await account.require(request)
    runtime, user = request.runtime, found[1]
    after = account.after(request, "tokens")
    own = await personal_tokens.own(runtime, user, after=after, limit=account.PAGE + 1)
    shown, following = account.listed(request, "tokens", own, lambda one: one[0].id)
    root = f"{runtime.settings.issuer}/account/tokens"
    context = {
        "action": root,
        "new_url": f"{root}/new",
        "tokens": [_view(request, token, uses) for token, uses in shown],
        "next_url": following,
        "overlaps": list(OVERLAPS),
        "hidden": once.field(),
    }
    return account.page(request, found, "tokens", context)


def _view(request: Request, token: ApiToken, uses: list[SecretUse]) -> dict[str, object]:
    runtime = request.runtime
    last = max(uses, key=lambda use: use.last_used_at or 0, default=None)
    hint = uses[0].hint if uses else ""
    return {
        "id": token.id,
        "name": token.name,
        "hint": f"{runtime.settings.brand}a_…{hint}",
        "scopes": token.scope.split(),
        "resources": [scopes.resource(request, token.resource)],
        "created_at": token.created_at,
        "last_used_at": last.last_used_at if last else None,
        "last_address": last.last_address if last else None,
        "expires_at": token.expires_at,
        "state": state_of(token, runtime.now(), runtime.settings.token_expiry_notice),
        "can_rotate": personal_tokens.can_rotate(token),
    }


def state_of(token: ApiToken, now: int, notice: int) -> str:
    """Return a token's state on the pages: "active", "expiring", "expired" or "revoked"."""
    if token.revoked_at is not None:
        return "revoked"
    if token.expires_at is None or token.expires_at - now > notice:
        return "active"
    return "expired" if token.expires_at <= now else "expiring"


async def change(request: Request) -> Response:
    """Rotate or revoke one of one's own tokens."""
    found = await account.require_fresh(request)
    form = account.form_of(request, found)
    runtime, user, what = request.runtime, found[1], form.get("do")
    if what not in ("rotate", "revoke"):
        return account.done(request, "tokens", "")
    if what == "rotate" and await demanded.is_lacking(request, user):
        return demanded.set_up(request)
    token = await personal_tokens.find_own(runtime, user, form.get("token") or "")
    if what == "rotate":
        inside, overlap = once.runtime_for(runtime, found[0], form, token.id), overlap_of(form)
        try:
            issued = await personal_tokens.rotate(inside, found[0], token, overlap=overlap)
        except once.SentBefore:
            return account.done(request, "tokens", "token_once")
        return _secret(request, found, issued, "rotated", runtime.now() + overlap if overlap else None)
    await personal_tokens.revoke(runtime, found[0], token)
    return account.done(request, "tokens", "token_revoked")


def overlap_of(form: Form) -> int:
    """Return for how many seconds the old secret of a rotated token keeps working."""
    chosen = form.get("overlap") or ""
    return int(chosen) if chosen in {str(one) for one in OVERLAPS} else OVERLAPS[0]


def _secret(request: Request, person: Person, issued: Issued, made: str, old_until: int | None) -> Response:
    resource = issued.token.resource
    example = (
        f'curl -H "Authorization: Bearer $TOKEN" {resource}' if resource.startswith("https://") else None
    )
    context = {
        "made": made,
        "token": {"name": issued.token.name, "expires_at": issued.token.expires_at},
        "secret": issued.secret,
        "old_until": old_until,
        "example": example,
        "here": browser.here(request, "/account/tokens?notice=token_once"),
    }
    return account.page(request, person, "tokens", context, template="token_secret")


async def show_new(request: Request) -> Response:
    """Show the form for a token."""
    return await _new(request, await _require(request))


async def _require(request: Request) -> Person:
    """Return the person as `account.require_fresh` does; divert also when they lack a demanded second factor."""
    found = await account.require_fresh(request)
    if await demanded.is_lacking(request, found[1]):
        raise browser.Diverted(demanded.set_up(request))
    return found


async def _new(
    request: Request, person: Person, form: Form | None = None, errors: dict[str, object] | None = None
) -> Response:
    runtime = request.runtime
    settings = runtime.settings
    chosen = form.all("scope") if form else ()
    offered = await personal_tokens.scopes_for(runtime, person[1])
    context = {
        "action": f"{settings.issuer}/account/tokens/new",
        "scopes": [{**scopes.described(request, name), "granted": name in chosen} for name in offered],
        "resources": [{"uri": uri, "name": name} for uri, name in settings.resources.items()],
        "days": offered_days(settings),
        "values": {
            "name": (form.get("name") or "")[:MAX_NAME] if form else "",
            "resource": form.get("resource") if form else None,
            "days": (form and _days(settings, form)) or usual_days(settings),
        },
        "errors": errors or {},
        "hidden": once.field(),
    }
    return account.page(
        request, person, "tokens", context, template="token_new", status=400 if errors else 200
    )


def usual_days(settings: Settings) -> int:
    """Return how many whole days a token lives where nothing else is chosen."""
    return settings.api_token_lifetime // DAY


def offered_days(settings: Settings) -> list[int]:
    """Return the lifetimes that a form offers, in days: none where tokens must end within a day, and so live as long as is usual."""
    most = settings.api_token_max_lifetime // DAY
    choices = {*DAYS, usual_days(settings), min(most, DAYS[0])}
    return sorted(count for count in choices if 0 < count <= most)


def _days(settings: Settings, form: Form) -> int | None:
    """Return the days that were chosen; None, which is as long as is usual, for what was not offered."""
    chosen = form.get("days") or ""
    return next((count for count in offered_days(settings) if str(count) == chosen), None)


async def create(request: Request) -> Response:
    """Create a token and show it this once."""
    found = await _require(request)
    form = account.form_of(request, found, repeatable=frozenset({"scope"}))
    chosen, resource = form.all("scope"), form.get("resource") or None
    if not chosen:
        return await _new(request, found, form, {"scope": "scope_missing"})
    if resource is not None and resource not in request.runtime.settings.resources:
        return await _new(request, found, form, {"resource": "invalid"})
    name = (form.get("name") or "").strip()
    if not 0 < len(name) <= MAX_NAME:
        return await _new(request, found, form, {"name": NAME_INVALID if name else "required"})
    try:
        issued = await personal_tokens.create(
            once.runtime_for(request.runtime, found[0], form),
            found[1],
            found[0],
            name=name,
            scopes=chosen,
            resource=resource,
            days=_days(request.runtime.settings, form),
        )
    except once.SentBefore:
        return account.done(request, "tokens", "token_once")
    except OAuthError as error:
        if error.code == "access_denied":
            raise
        field = error.field if error.field in ("name", "scope") else "form"
        return await _new(request, found, form, {field: NAME_INVALID if field == "name" else "invalid"})
    return _secret(request, found, issued, "created", None)
