"""RFC 9728 and MCP authorization (2026-07-28), as clients walk them: from a refused call to the authorization servers."""

import re
from urllib.parse import urlsplit

from watchword.client.doctor.findings import Report, check_type
from watchword.client.doctor.issuer import walk_issuer
from watchword.client.doctor.web import (
    ORIGIN,
    Document,
    Seen,
    Web,
    is_address,
    is_exposed,
    is_open,
    line_for,
    well_known,
)

WELL_KNOWN = "/.well-known/oauth-protected-resource"
CALL = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "watchword doctor", "version": "1"},
    },
}
HEADERS = {"accept": "application/json, text/event-stream"}
PREFLIGHT = {
    "origin": ORIGIN,
    "access-control-request-method": "POST",
    "access-control-request-headers": "authorization, content-type, mcp-protocol-version",
}
CORS = (
    'around the guard: CORSMiddleware(app, allow_origins=["*"], allow_methods=["GET", "POST", "DELETE"], allow_headers=["*"], '
    'expose_headers=["WWW-Authenticate", "Mcp-Session-Id", "DPoP-Nonce"])'
)
TELL_SCHEME = "uvicorn --proxy-headers --forwarded-allow-ips=<the proxy>; at the proxy: proxy_set_header X-Forwarded-Proto $scheme;"
MAX_SERVERS = 5
_FOR_TOKENS = re.compile(r"(^|,)\s*(bearer|dpop)(\s|,|$)", re.IGNORECASE)  # RFC 9110 §11.6.1: one of several


def walk_resource(url: str, web: Web, report: Report) -> None:
    """Walk an MCP server by the address that people give to their clients."""
    if is_exposed(url):
        report.fail("plain-http", url, "tokens are sent unencrypted", "serve it over https")
    challenge = _call(url, web, report)
    if challenge is None:
        return
    _other_slash(url, web, report)
    _browsers(url, web, report)
    document, address = _metadata(url, challenge, web, report)
    if document is None:
        return
    _resource(url, document, address, report)
    servers = document.get("authorization_servers")
    found = [server for server in servers if is_address(server)] if isinstance(servers, list) else []
    if not found:
        report.fail(
            "no-authorization-server",
            address,
            "the metadata names no authorization server",
            '"authorization_servers": ["https://auth.example.com"]',
        )
    for server in found[:MAX_SERVERS]:
        walk_issuer(server, web, report, f'at {address}, among "authorization_servers": ')


def _call(url: str, web: Web, report: Report) -> str | None:
    seen = web.ask("POST", url, json=CALL, headers=HEADERS)
    if seen.is_redirect:
        _redirected(url, seen, report)
    elif seen.status == 401:
        challenge = seen.headers.get("www-authenticate", "")
        if _FOR_TOKENS.search(challenge):
            report.ok("challenge", url, "without a token it answers 401 with a challenge")
            return challenge
        report.fail(
            "challenge",
            url,
            "401 without a Bearer challenge: clients do not know that a token would help",
            f'WWW-Authenticate: Bearer resource_metadata="{inserted(url)}"',
        )
        return challenge
    elif seen.status == 200:
        report.fail(
            "not-guarded",
            url,
            "it answers without a token",
            "put the guard in front: protected(app, issuer, …)",
        )
    else:
        report.fail(
            "not-mcp",
            url,
            f"this is neither an authorization server nor an MCP server: {seen.said()}{_asked_for_metadata(url, web, seen)}",
            "check the address, its path above all (/mcp)"
            if seen.status
            else line_for(
                seen,
                url,
                f"check the name, the port and {urlsplit(url).scheme}://, and that the server runs",
            ),
        )
    return None


def _asked_for_metadata(url: str, web: Web, seen: Seen) -> str:
    """Say what the addresses of an authorization server's metadata answered, where anybody answered."""
    said = {address: web.get(address).said_of_metadata() for address in well_known(url).values()}
    return "".join(f"; {address} answers {answer}" for address, answer in said.items()) if seen.status else ""


def _redirected(url: str, seen: Seen, report: Report) -> None:
    if url.startswith("https://") and seen.location.startswith("http://"):
        report.fail(
            "proxy-scheme",
            url,
            f"the server thinks that it is reached over plain http and redirects to {seen.location}",
            TELL_SCHEME,
        )
    else:
        report.fail(
            "redirect-on-post",
            url,
            f"calls are redirected ({seen.said()}): clients lose the call or the token",
            f"in the client: {seen.location or 'the address that it redirects to'}; or mount the server at exactly {url}",
        )


def _other_slash(url: str, web: Web, report: Report) -> None:
    other = url.removesuffix("/") if url.endswith("/") else url + "/"
    seen = web.ask("POST", other, json=CALL, headers=HEADERS)
    if seen.is_redirect and url.startswith("https://") and seen.location.startswith("http://"):
        _redirected(other, seen, report)


def _browsers(url: str, web: Web, report: Report) -> None:
    seen = web.ask("OPTIONS", url, headers=PREFLIGHT)
    # Fetch Standard: "*" stands for every header but Authorization.
    names = seen.headers.get("access-control-allow-headers", "").lower().replace(" ", "").split(",")
    if not (200 <= seen.status < 300 and is_open(seen)):
        problem = f"a browser's preflight is refused ({seen.said()})"
    elif "authorization" not in names:
        problem = "a browser's preflight does not allow the header Authorization"
    else:
        refused = web.ask("POST", url, json=CALL, headers={**HEADERS, "origin": ORIGIN})
        exposed = refused.headers.get("access-control-expose-headers", "").lower()
        if is_open(refused) and "www-authenticate" in exposed:
            report.ok("cors", url, "clients in browsers may call it, and read the challenge")
            return
        problem = f"scripts cannot read the challenge of a refusal ({refused.said()})"
    report.warn("cors", url, f"{problem}: clients in browsers fail, the MCP Inspector among them", CORS)


def inserted(url: str) -> str:
    """Return where the metadata of a resource are."""
    parts = urlsplit(url)  # RFC 9728 §3.1: before path and query
    query = f"?{parts.query}" if parts.query else ""
    return f"{parts.scheme}://{parts.netloc}{WELL_KNOWN}{'' if parts.path == '/' else parts.path}{query}"


def _metadata(url: str, challenge: str, web: Web, report: Report) -> tuple[Document | None, str]:
    named = re.search(r'resource_metadata="?([^",\s]+)', challenge)
    if named is None:
        report.warn(
            "resource-metadata",
            url,
            "the challenge does not say where the metadata is; clients have to guess",
            f'WWW-Authenticate: Bearer resource_metadata="{inserted(url)}"',
        )
    if "scope=" not in challenge:
        report.warn(
            "scope",
            url,
            "the challenge names no scope; clients then ask for everything that the metadata lists",
            'WWW-Authenticate: Bearer …, scope="…"',
        )
    root = f"{urlsplit(url).scheme}://{urlsplit(url).netloc}{WELL_KNOWN}"
    for address in dict.fromkeys([*([named[1]] if named else []), inserted(url), root]):
        if url.startswith("https://") and address.startswith("http://"):
            report.fail(
                "proxy-scheme",
                address,
                "the challenge leads to plain http: behind the proxy, the server thinks that it is reached that way",
                TELL_SCHEME,
            )
            continue
        seen = web.get(address)
        if seen.status == 200 and seen.document is not None:
            report.ok("resource-metadata", address, "the metadata is here (RFC 9728)")
            check_type(seen.media_type, address, report)
            if seen.headers.get("access-control-allow-origin") is None:
                report.warn(
                    "cors", address, "clients in browsers cannot read it", "Access-Control-Allow-Origin: *"
                )
            return seen.document, address
        _not_there(url, seen, address, named is not None and address == named[1], report)
    report.fail(
        "no-resource-metadata",
        url,
        "no client finds the authorization server",
        f"serve the metadata at {inserted(url)}",
    )
    return None, ""


def _not_there(url: str, seen: Seen, address: str, is_named: bool, report: Report) -> None:
    """Report an address without the metadata; `is_named` where the challenge leads there."""
    if is_named:
        # Some clients look no further (the MCP SDK for TypeScript), and take the MCP server for its own authorization server.
        report.fail(
            "resource-metadata",
            address,
            f"the challenge leads here, where there is no metadata: {seen.said_of_metadata()}",
            line_for(
                seen,
                address,
                f'WWW-Authenticate: Bearer resource_metadata="{inserted(url)}", and serve it there',
            ),
        )
        return
    report.warn(
        "resource-metadata",
        address,
        f"no metadata here: {seen.said_of_metadata()}",
        line_for(seen, address, f"serve it at {inserted(url)}"),
    )


def _resource(url: str, document: Document, address: str, report: Report) -> None:
    named = document.get("resource")
    if named == url:
        report.ok("resource", address, "the metadata names exactly this resource (RFC 9728 section 3.3)")
    elif is_address(named) and _covers(named, url):
        report.warn(
            "resource",
            address,
            f"the metadata is for {named!r}, not for {url!r}: strict clients refuse, and tokens are for {named!r}",
            f"in the client: {named}"  # a guard takes no resource that ends with a slash
            + ("" if url.endswith("/") else f"; or resource={url!r}"),
        )
    else:
        report.fail(
            "resource",
            address,
            f"the metadata is for {str(named)[:200]!r}, which is not this server: clients must refuse",
            # The metadata may be of what is below the address that was given, such as its /mcp.
            (f"in the client: {named}; or " if is_address(named) and _covers(url, named) else "")
            + f"resource={url!r}",
        )


def _covers(named: str, url: str) -> bool:
    one, other = urlsplit(named), urlsplit(url)
    same = (one.scheme, one.netloc.lower()) == (other.scheme, other.netloc.lower())
    return same and (other.path.rstrip("/") + "/").startswith(one.path.rstrip("/") + "/")
