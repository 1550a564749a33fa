"""The console's playground: run the flows step by step, see every request with its answer, and what the tokens say.

Nothing of it is there until an administrator sets it up. The steps carry the tokens in the forms of the page, which is not stored.
"""

import secrets
import shlex
from collections.abc import Mapping
from urllib.parse import urlencode

from watchword.flows import examination, mcp_check, playground
from watchword.http import Request, Response
from watchword.http.forms import Form
from watchword.oauth.clients import Client
from watchword.oauth.errors import OAuthError
from watchword.pages import account, returning, scopes
from watchword.pages.account import Person
from watchword.pages.console import check, frame
from watchword.pages.console.playground_steps import STEPS, Asked, Exchange

SECTION = "playground"
TOKENS = ("access_token", "refresh_token", "id_token")
CARRIED = ("code", "state", "access_token", "refresh_token", "device_code")
# The parameters of an authorization response (RFC 6749 §4.1.2, RFC 9207 §2)
RECEIVED = ("code", "state", "iss", "error", "error_description")
STATE_BYTES = 18


async def show(request: Request) -> Response:
    """Show the forms, or what an authorization brought back."""
    found = await frame.require(request)
    query = request.query()
    received = [{"name": name, "value": value} for name in RECEIVED if (value := query.get(name))]
    if not query.has("code") and not query.has("error"):
        return await _page(request, found)
    carried = {name: query.get(name) or "" for name in ("code", "state")}
    return await _page(request, found, received=received, carried=carried)


async def run(request: Request) -> Response:
    """Set the playground up, prepare an authorization, check an MCP server, or take a step."""
    found = await frame.require_fresh(request, _way_back(request))
    form = account.form_of(request, found)
    client, do = await playground.find(request.runtime), form.get("do") or ""
    if do == "setup":
        return await _set_up(request, found)
    if client is None:
        return await _page(request, found)
    if do == "mcp":
        return await _mcp(request, found, form)
    if do == "run":
        do = form.get("flow") or ""
    asked = Asked(request, form, client, found[0])
    if do == "authorization_code":
        return await _prepared(request, found, asked)
    if do not in STEPS:
        return await _page(request, found)
    return await _answered(request, found, form, await STEPS[do](asked))


def _way_back(request: Request) -> str:
    """Return where a proof leads that is asked for before a step: with the code, if that was to be redeemed, as it came."""
    form = request.form()
    carried = {name: value for name in ("code", "state") if (value := form.get(name))}
    place = returning.place_of(request)
    return f"{place}?{urlencode(carried)}" if form.get("do") == "redeem" and carried else place


async def _set_up(request: Request, person: Person) -> Response:
    try:
        await playground.register(frame.acting(request, person), actor=person[1].id)
    except OAuthError as error:
        if error.code != "conflict":  # somebody else has just done the same
            raise
    return frame.done(request, "playground_ready", SECTION)


async def _mcp(request: Request, person: Person, form: Form) -> Response:
    url = (form.get("url") or "").strip()
    if not url:
        return await _page(request, person, errors={"url": "required"}, status=400)
    findings = await mcp_check.check(request.runtime, url)
    more = (
        f"watchword doctor {shlex.quote(url)}"  # somebody pastes it into a shell, as they pasted the address
    )
    return await _page(request, person, mcp={"command": more, "findings": findings}, values={"url": url})


async def _prepared(request: Request, person: Person, asked: Asked) -> Response:
    """Show the authorization request, with a link that sends it."""
    state = secrets.token_urlsafe(STATE_BYTES)
    url = playground.authorization_request(request.runtime, person[0], state, asked.extent())
    return await _page(request, person, authorize=url)


async def _answered(request: Request, person: Person, form: Form, made: Exchange) -> Response:
    served = made.path == "/token" and made.succeeded
    carried = {name: _told(made, name) or form.get(name) or "" for name in ("access_token", "refresh_token")}
    carried["device_code"] = "" if served else _told(made, "device_code") or form.get("device_code") or ""
    said = [
        {"name": name, **await check.view(request, await examination.examine(request.runtime, token))}
        for name in TOKENS
        if (token := _told(made, name))
    ]
    return await _page(request, person, made=made, said=said, carried=carried)


def _told(made: Exchange, name: str) -> str:
    """Return a member of an answer that is a text, "" where it is none."""
    value = made.answer.get(name)
    return value if isinstance(value, str) else ""


async def _page(
    request: Request,
    person: Person,
    *,
    status: int = 200,
    carried: Mapping[str, str] | None = None,
    values: Mapping[str, str] | None = None,
    **more: object,
) -> Response:
    settings = request.runtime.settings
    client = await playground.find(request.runtime)
    context = {
        "action": frame.address(request, SECTION),
        "client": _client(request, client) if client is not None else None,
        "resources": [scopes.resource(request, uri) for uri in settings.apis],
        "authorize": None,
        "received": (),
        "made": None,
        "said": (),
        "mcp": None,
        "errors": {},
        "values": {"scope": "openid profile offline_access", **(values or {})},
        "carried": {**dict.fromkeys(CARRIED, ""), **(carried or {})},
        **more,
    }
    return frame.page(request, person, SECTION, context, status=status)


def _client(request: Request, client: Client) -> dict[str, object]:
    return {
        "url": frame.address(request, "clients", client.client_id),
        "scope": list(client.scope),
        "disabled": client.disabled_at is not None,
        "leads_back": playground.leads_back(request.runtime.settings, client),
        "address": playground.address(request.runtime.settings),
    }
