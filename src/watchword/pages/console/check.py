"""The console's examination of a credential that turned up somewhere: what it is, whose, and whether an API accepts it; its end.

The text comes in a form, is not sent back, and nothing is kept of it.
"""

from collections.abc import Mapping

import msgspec

from watchword.flows import examination, leaks
from watchword.flows.examination import Finding
from watchword.http import Request, Response
from watchword.pages import account, account_tokens, scopes
from watchword.pages.account import Person
from watchword.pages.console import frame, links
from watchword.store.api_tokens import ApiToken

# The claims that are times (Unix seconds), which are shown as dates.
TIMES = frozenset({"exp", "iat", "nbf", "auth_time", "updated_at"})
LATEST = 2**33  # seconds; a later one is shown as a number

_encode = msgspec.json.Encoder().encode


async def show(request: Request) -> Response:
    """Show the form."""
    return _page(request, await frame.require(request))


async def examine(request: Request) -> Response:
    """Say what the text of the form is, and end it where that was asked for."""
    ends = request.form().get("do") == "end"
    found = await (frame.require_fresh if ends else frame.require)(request)
    text = (account.form_of(request, found).get("credential") or "").strip()
    if not text:
        return _page(request, found, errors={"credential": "required"}, status=400)
    if ends:
        finding, ended = await leaks.end(frame.acting(request, found), text, actor=found[1].id)
        return _page(request, found, result={**await view(request, finding), "ended": ended})
    finding = await examination.examine(request.runtime, text)
    return _page(request, found, result=await view(request, finding))


def _page(
    request: Request,
    person: Person,
    *,
    result: Mapping[str, object] | None = None,
    errors: Mapping[str, object] | None = None,
    status: int = 200,
) -> Response:
    context = {
        "action": frame.address(request, "check"),
        "most": examination.MAX_LENGTH,
        "result": result,
        "errors": errors or {},
    }
    return frame.page(request, person, "check", context, status=status)


async def view(request: Request, finding: Finding) -> dict[str, object]:
    wanted = {one for one in (finding.client_id, finding.subject) if one}
    places = await links.find(request, wanted)
    return {
        "kind": finding.name,
        "reason": finding.reason,
        "active": finding.active,
        "ended": False,
        "token": _token(request, finding.token) if finding.token else None,
        "client": places.get(finding.client_id or ""),
        "subject": places.get(finding.subject or ""),
        "header": _listed(finding.header),
        "claims": _listed(finding.claims),
    }


def _token(request: Request, token: ApiToken) -> dict[str, object]:
    now, notice = request.runtime.now(), request.runtime.settings.token_expiry_notice
    return {
        "name": token.name,
        "url": frame.address(request, "tokens", token.id),
        "scopes": token.scope.split(),
        "resource": scopes.resource(request, token.resource),
        "expires_at": token.expires_at,
        "state": account_tokens.state_of(token, now, notice),
        "path": token.path,
        "addresses": list(token.addresses),
        "bound": token.jkt is not None,
    }


def _listed(members: Mapping[str, object]) -> list[dict[str, object]]:
    """Return members as rows of {name, text, at}; `at` where the value is a time."""
    return [{"name": name, "text": _text(value), "at": _time(name, value)} for name, value in members.items()]


def _text(value: object) -> str:
    return value if isinstance(value, str) else _encode(value).decode("utf-8", "replace")


def _time(name: str, value: object) -> int | None:
    if name not in TIMES or isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value) if 0 < value < LATEST else None
