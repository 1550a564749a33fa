"""What a developer is told in development: what was wrong with a request, how it differs from what is registered, what to change.

None of this is shown in production. It repeats no secret, only addresses and client identifiers.
"""

import re
from collections.abc import Iterable, Mapping

from watchword.flows.clients import client_registry
from watchword.http import Request
from watchword.oauth.clients import Client
from watchword.oauth.errors import OAuthError

_PARTS = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]*):(?://(?P<host>[^/?#:]*|\[[^\]]*\])(?::(?P<port>\d+))?)?(?P<path>[^?#]*)(?:\?(?P<query>[^#]*))?(?:#(?P<fragment>.*))?",
    re.IGNORECASE | re.DOTALL,
)
MAX_SHOWN = 300

# By error and field; the field "" stands for every other.
REMEDIES: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("invalid_request", "client_id"): (
        "Send the client_id that watchword client list shows.",
        "Or register the client: watchword client create NAME --redirect-uri URI --scope openid",
        "Both must use the database of this server: see --database, WATCHWORD_DATABASE, watchword.toml.",
    ),
    ("unauthorized_client", "client_id"): (
        "Allow the grant: watchword client update CLIENT_ID --grant authorization_code --grant refresh_token",
    ),
    ("invalid_request", "content-type"): ("Send the form as application/x-www-form-urlencoded.",),
    ("invalid_request_uri", ""): (
        "A pushed request works once and for a minute: push again and send the new request_uri.",
        "The client that pushed must be the client_id of this request.",
    ),
    ("access_denied", ""): (
        "Forms carry the value of a cookie: keep cookies between requests, and send the field csrf as the page gave it.",
        "Open the server at its issuer's address only: localhost and 127.0.0.1 do not share cookies.",
    ),
    ("temporarily_unavailable", ""): ("Look at the server's log: it names what is out of reach.",),
}


async def explain(request: Request, error: OAuthError) -> dict[str, object] | None:
    """Return what the error page shows beside the refusal; None in production."""
    if request.runtime.settings.mode != "development":
        return None
    explained = explain_shortly(request, error) or {}
    if error.field != "redirect_uri":
        return explained
    sent = _sent(request)
    uri = sent.get("redirect_uri", "")[:MAX_SHOWN]
    client = await client_registry.find(request.runtime, sent.get("client_id", ""))
    if client is None or not uri:
        return {**explained, "changes": ["Send redirect_uri, exactly as it is registered."]}
    nearest = min(client.redirect_uris, key=lambda known: len(differences(uri, known)), default="")
    return {
        **explained,
        "summary": f"The redirect_uri is not one of those registered for {client.name}.",
        "differences": differences(uri, nearest),
        "changes": _changes(client, uri),
    }


def explain_shortly(request: Request, error: OAuthError) -> dict[str, object] | None:
    """Return what is known without looking anything up; None in production."""
    settings = request.runtime.settings
    if settings.mode != "development":
        return None
    remedies = REMEDIES.get((error.code, error.field or ""), REMEDIES.get((error.code, ""), ()))
    host, own = request.header(b"host") or "", settings.issuer.partition("://")[2].partition("/")[0]
    elsewhere = [{"part": "Host", "sent": host, "expected": own}] if host != own else []
    code = f"{error.code}: {error.field}" if error.field else error.code
    return {
        "code": code,
        "summary": error.description,
        "changes": list(remedies),
        "differences": elsewhere,
    }


def _sent(request: Request) -> Mapping[str, str]:
    try:
        form = request.form() if request.method == "POST" else request.query()
    except OAuthError:
        return {}
    return form.single()


def differences(sent: str, registered: str) -> list[dict[str, str]]:
    """Return the parts in which an address differs from a registered one."""
    ours, theirs = _PARTS.fullmatch(registered), _PARTS.fullmatch(sent)
    if ours is None or theirs is None:
        return [{"part": "address", "sent": sent, "expected": registered}]
    return [
        {"part": part, "sent": theirs[part] or "none", "expected": ours[part] or "none"}
        for part in _PARTS.groupindex
        if (theirs[part] or "") != (ours[part] or "")
    ]


def _changes(client: Client, sent: str) -> Iterable[str]:
    registered = " ".join(f"--redirect-uri {uri}" for uri in client.redirect_uris)
    return [
        *(f"Send exactly {uri}" for uri in client.redirect_uris[:5]),
        f"Or register the other as well: watchword client update {client.client_id} {registered} --redirect-uri {sent}",
    ]
