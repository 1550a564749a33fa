"""RFC 8414 and OpenID Connect Discovery, as clients read them: an authorization server from its name to its endpoints."""

import time
from collections.abc import Mapping
from urllib.parse import urlsplit

from watchword.client.doctor.findings import Report, check_type
from watchword.client.doctor.keys import check_keys
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
from watchword.client.proofs import dated

# What an existing endpoint may answer to an empty request; any other status means that there is none.
ALIVE = (200, 400, 401, 403, 415, 422, 429)
FORMS = (
    "token_endpoint",
    "revocation_endpoint",
    "introspection_endpoint",
    "pushed_authorization_request_endpoint",
    "device_authorization_endpoint",
    "registration_endpoint",
)
SKEW = 60


def walk_issuer(issuer: str, web: Web, report: Report, place: str = "in the client: issuer = ") -> None:
    """Examine an authorization server by its issuer identifier; `place` says where the identifier is written, and may be corrected."""
    if is_exposed(issuer):
        report.fail(
            "plain-http",
            issuer,
            "tokens and passwords are sent unencrypted",
            "serve with --tls-cert and --tls-key, or behind a proxy that terminates TLS, with --issuer https://…",
        )
    document = _metadata(issuer, web, report)
    if document is None:
        return
    _name(issuer, document, report, place)
    _promises(issuer, document, report)
    _endpoints(issuer, document, web, report)
    _browsers(document, web, report)
    check_keys(document, web, report)


def _metadata(issuer: str, web: Web, report: Report) -> Document | None:
    found: dict[str, Document] = {}
    for rule, address in well_known(issuer).items():
        seen = web.get(address)
        if seen.is_redirect:
            report.fail(
                "metadata-redirect",
                address,
                f"the metadata redirects ({seen.said()}); many clients do not follow",
                f"answer at {address} itself, or name clients the issuer that {seen.location} belongs to",
            )
        elif seen.status == 200 and seen.document is not None:
            found[address] = seen.document
            report.ok("metadata", address, f"the metadata is here ({rule})")
            check_type(seen.media_type, address, report)
            _readable(seen, address, report)
            _dated(seen, address, report)
        else:
            report.warn(
                "metadata-missing",
                address,
                f"no metadata here ({rule}): {seen.said_of_metadata()}",
                line_for(seen, address, f"route {urlsplit(address).path} to the authorization server"),
            )
    if not found:
        report.fail(
            "no-metadata",
            issuer,
            "no client finds the endpoints",
            line_for(seen, issuer, "route /.well-known/ to the server"),
        )
        return None
    first, *others = found.values()
    if any(other.get("issuer") != first.get("issuer") for other in others):
        report.fail(
            "metadata-differ",
            issuer,
            "the well-known addresses name different issuers",
            "serve one document at all",
        )
    for member in sorted({name for other in others for name in _contradicted(first, other)}):
        report.warn(
            "metadata-differ",
            issuer,
            f"the well-known addresses name different values of {member}: clients fare differently",
            "serve one document at all",
        )
    return first


def _contradicted(first: Document, other: Document) -> list[str]:
    """Return the addresses that two documents name differently; one that a document leaves out does not count."""
    addresses = [name for name in first if name.endswith(("_endpoint", "_uri")) and name in other]
    return [name for name in addresses if first[name] != other[name]]


def _readable(seen: Seen, address: str, report: Report) -> None:
    if not is_open(seen):
        report.warn(
            "cors",
            address,
            "clients in browsers cannot read the metadata",
            "answer it with Access-Control-Allow-Origin: *",
        )


def _dated(seen: Seen, address: str, report: Report) -> None:
    there = dated(seen.headers)
    if there is not None and abs(there - time.time()) > SKEW:
        report.warn(
            "clock",
            address,
            f"the server's clock is {int(there - time.time())} seconds from this one",
            "synchronise the clocks: timedatectl set-ntp true",
        )


def _name(issuer: str, document: Document, report: Report, place: str) -> None:
    named = document.get("issuer")
    if named == issuer:
        report.ok("issuer", issuer, "the metadata names exactly this issuer (RFC 8414 section 3.3)")
    elif isinstance(named, str) and named.rstrip("/") == issuer.rstrip("/"):
        report.fail(
            "issuer-slash",
            issuer,
            f"the metadata says {named!r}: clients compare character by character and refuse",
            f"{place}{named!r}"  # Watchword itself takes no issuer that ends with a slash
            + ("" if issuer.endswith("/") else f"; or at the server: --issuer {issuer}"),
        )
    elif isinstance(named, str) and named == issuer.replace("https://", "http://", 1):
        report.fail(
            "proxy-scheme",
            issuer,
            f"behind the proxy, the server thinks that its address is {named!r}",
            f"--issuer {issuer} --behind-tls-proxy; and at the proxy: proxy_set_header X-Forwarded-Proto $scheme;",
        )
    elif isinstance(named, str) and "{" in named:  # Entra ID: whatever its tenants have in common
        report.fail(
            "issuer",
            issuer,
            f"the metadata names the issuer {named[:200]!r}, which is none but a pattern: each tenant is an issuer of its own",
            f"{place}{named[:200]!r} with the tenant's own identifier in the place of the braces",
        )
    else:
        report.fail(
            "issuer",
            issuer,
            f"the metadata names the issuer {str(named)[:200]!r}",
            ("" if "?" in issuer else f"--issuer {issuer}; or ")  # RFC 8414 §2: an issuer has no query
            + f"{place}{str(named)[:200]!r}",
        )


def _texts(document: Document, member: str) -> list[str]:
    value = document.get(member)
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def _promises(issuer: str, document: Document, report: Report) -> None:
    if "S256" in _texts(document, "code_challenge_methods_supported"):
        report.ok("pkce", issuer, "S256 is announced")
    else:
        report.fail(
            "pkce",
            issuer,
            "code_challenge_methods_supported lacks S256: MCP clients must refuse",
            '"code_challenge_methods_supported": ["S256"]',
        )
    for member in (
        "id_token_signing_alg_values_supported",
        "token_endpoint_auth_signing_alg_values_supported",
    ):
        if "none" in _texts(document, member):
            report.fail(
                "alg-none", issuer, f"{member} lists 'none': unsigned tokens pass", f"remove it from {member}"
            )
    if "none" not in _texts(document, "token_endpoint_auth_methods_supported"):
        report.warn(
            "public-clients",
            issuer,
            "token_endpoint_auth_methods_supported lacks 'none': some clients conclude that public clients are not supported",
            '"token_endpoint_auth_methods_supported": ["none", …]',
        )
    if document.get("authorization_response_iss_parameter_supported") is not True:
        report.warn(
            "iss",
            issuer,
            "authorization responses do not name the issuer (RFC 9207): MCP clients will require it",
            '"authorization_response_iss_parameter_supported": true',
        )
    by_document = document.get("client_id_metadata_document_supported") is True
    if not by_document and "registration_endpoint" not in document:
        report.warn(
            "unknown-clients",
            issuer,
            "only clients that somebody registered can connect; stock MCP clients cannot",
            "in Watchword set client_documents = true; elsewhere register each client",
        )
    if "code" not in _texts(document, "response_types_supported"):
        report.fail(
            "code-flow",
            issuer,
            "response_types_supported lacks 'code'",
            '"response_types_supported": ["code"]',
        )
    # RFC 8414 §2: where it is left out, the code flow is among them.
    if "grant_types_supported" in document and "authorization_code" not in _texts(
        document, "grant_types_supported"
    ):
        report.fail(
            "code-flow",
            issuer,
            "grant_types_supported lacks 'authorization_code'",
            '"grant_types_supported": ["authorization_code", …]',
        )


def _endpoints(issuer: str, document: Document, web: Web, report: Report) -> None:
    for member in ("authorization_endpoint", *FORMS, "userinfo_endpoint", "jwks_uri"):
        address = document.get(member)
        if address is None:
            continue
        if not is_address(address):
            report.fail("endpoint-address", issuer, f"{member} is no web address", f"correct {member}")
        elif issuer.startswith("https://") and address.startswith("http://"):
            report.fail(
                "proxy-scheme",
                address,
                f"{member} is plain http under an https issuer",
                f"--issuer {issuer} --behind-tls-proxy; and at the proxy: proxy_set_header X-Forwarded-Proto $scheme;",
            )
        elif member != "jwks_uri":
            _is_there(member, address, web, report)
    for member in ("authorization_endpoint", "token_endpoint"):
        if member not in document:
            report.fail(
                "endpoint-missing", issuer, f"the metadata names no {member}", f'"{member}": "{issuer}/…"'
            )


def _asked(member: str, address: str, web: Web, headers: Mapping[str, str] | None = None) -> Seen:
    """Return what an endpoint answers to a request of its kind that leads to nothing."""
    if member == "registration_endpoint":
        # No server registers a client with this.
        return web.ask("POST", address, json={"redirect_uris": "none: this is a check"}, headers=headers)
    if member in FORMS:
        return web.ask("POST", address, form={}, headers=headers)
    return web.ask("GET", address, headers=headers)


def _is_there(member: str, address: str, web: Web, report: Report) -> None:
    seen = _asked(member, address, web)
    leads_on = member == "authorization_endpoint" and seen.is_redirect  # to a page of the server's own
    if seen.status in ALIVE or leads_on:
        report.ok("endpoint", address, f"{member} answers")
    elif member == "authorization_endpoint" and seen.status == 404:
        report.warn(
            "endpoint",
            address,
            f"{member} answers 404 to a request without a client: some servers do that, others have nothing there",
            f"open {address} in a browser; where no page of the server's own appears, route {urlsplit(address).path} to it",
        )
    elif seen.is_redirect:
        report.fail(
            "redirect-on-post",
            address,
            f"{member} redirects ({seen.said()}): clients lose the form or do not follow",
            f'"{member}": "{seen.location}"',
        )
    elif seen.status == 405:
        method = "POST" if member in FORMS else "GET"
        report.fail(
            "endpoint",
            address,
            f"{member} answers 405 to {method}, which every client uses",
            f"let {method} through to {urlsplit(address).path}; in nginx: no limit_except for it",
        )
    else:
        report.fail(
            "endpoint",
            address,
            f"{member} is announced but does not answer: {seen.said()}",
            line_for(
                seen,
                address,
                f"route {urlsplit(address).path} to the server, or take {member} out of the metadata",
            ),
        )


def _browsers(document: Document, web: Web, report: Report) -> None:
    for member, what in (("token_endpoint", "ask for tokens"), ("registration_endpoint", "register")):
        address = document.get(member)
        if is_address(address):
            _is_open_to_scripts(member, address, what, web, report)


def _is_open_to_scripts(member: str, address: str, what: str, web: Web, report: Report) -> None:
    asked = {
        "origin": ORIGIN,
        "access-control-request-method": "POST",
        "access-control-request-headers": "content-type",
    }
    seen = web.ask("OPTIONS", address, headers=asked)
    if not (200 <= seen.status < 300 and is_open(seen)):
        report.warn(
            "cors",
            address,
            f"a browser's preflight is refused ({seen.said()}): clients in browsers fail, the MCP Inspector among them",
            "let OPTIONS through the proxy and answer Access-Control-Allow-Origin: *",
        )
    elif not is_open(_asked(member, address, web, {"origin": ORIGIN})):
        report.warn(
            "cors",
            address,
            "a browser's preflight is answered, and then its scripts cannot read the answer: clients that run in browsers fail, the MCP "
            "inspector among them",
            "answer POST with Access-Control-Allow-Origin: * too, errors included; in nginx: add_header … always;",
        )
    else:
        report.ok("cors", address, f"clients in browsers may {what}")
