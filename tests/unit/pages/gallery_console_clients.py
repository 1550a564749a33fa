"""The console's pages about applications, as the server would show them."""

from collections.abc import Mapping

from tests.unit.pages.contexts import API, DAY, NOW, Context, reading
from tests.unit.pages.gallery_console import console, listing

from watchword.pages.console import client_protocol
from watchword.pages.render import Problem

WHERE = {
    "issuer": "https://id.example.com",
    "discovery": "https://id.example.com/.well-known/openid-configuration",
}
LISTED = {
    "id": "client_1", "url": "/console/clients/client_1", "name": "Ledgerline", "kind": "web", "origin": "registered", "host": None,
    "grants": ["authorization_code", "refresh_token"], "last_used_at": NOW - 3_600, "disabled_at": None,
}  # fmt: skip
DOCUMENT = {**LISTED, "id": "https://agent.inkwell.example/client.json", "url": "/console/clients/https%3A%2F%2Fagent", "name": "Inkwell Agent",
            "kind": "program", "origin": "metadata_document", "host": "agent.inkwell.example", "last_used_at": None}  # fmt: skip
STRANGER = {
    **LISTED,
    "id": "client_2",
    "name": "Ledgerline Official",
    "origin": "self_registered",
    "disabled_at": NOW - DAY,
}
FACTS = {
    "method": "client_secret_basic", "redirect_uris": ["https://app.ledgerline.example/callback", "https://test.ledgerline.example/callback"],
    "post_logout_redirect_uris": ["https://app.ledgerline.example/"], "logout_uris": ["https://app.ledgerline.example/logout"],
    "scopes": ["openid", "invoices:read"], "resources": API, "format": "opaque", "lifetime": 600, "keys_url": None,
    "demands": ["pkce", "par", "signed_requests", "dpop", "mtls", "status", "fapi2", "pairwise", "exchange"],
    "created_at": NOW - 90 * DAY, "version": 3,
}  # fmt: skip
BARE = {**FACTS, "redirect_uris": [], "post_logout_redirect_uris": [], "logout_uris": [], "scopes": [], "resources": [], "demands": [],
        "format": "jwt", "keys_url": "https://agent.inkwell.example/jwks.json"}  # fmt: skip
SECRETS = [
    {"id": "secret_2", "created_at": NOW - DAY, "expires_at": None, "ended": False, "last_used_at": NOW, "last_address": "203.0.113.7"},
    {"id": "secret_1", "created_at": NOW - 90 * DAY, "expires_at": NOW - 60, "ended": True, "last_used_at": None, "last_address": None},
]  # fmt: skip
PROTOCOL = {
    part: [
        {"name": name, "kind": kind, "choices": client_protocol.CHOICES.get(name)}
        for name, kind in fields.items()
    ]
    for part, fields in client_protocol.PARTS.items()
}
METADATA = {
    **{name: kind == "switch" for name, kind in client_protocol.FIELDS.items()},
    **{name: "" for name, kind in client_protocol.FIELDS.items() if kind != "switch"},
    "token_endpoint_auth_method": "private_key_jwt",
    "jwks_uri": "https://app.example.com/jwks.json",
    "grant_types": "authorization_code\nrefresh_token",
}
LINKS = {"edit_url": "/console/clients/1/edit", "protocol_url": "/console/clients/1/protocol", "delete_url": "/console/clients/1/delete", "tokens_url": "/console/tokens?owner=client_1",
         "events_url": "/console/events?target=client_1", "where": WHERE}  # fmt: skip
ONE = console("clients", client={**LISTED, **FACTS}, secrets=SECRETS, may=["add_secret", "edit", "switch_off", "delete"],
              overlaps=[86_400, 3_600, 604_800, 0], **LINKS)  # fmt: skip
KINDS = [{"kind": kind, "url": f"/console/clients/new/{kind}"} for kind in ("web", "program", "service")]
CHOICE = [
    {**API[0], "chosen": True},
    {"name": "https://id.example.com", "uri": "https://id.example.com", "chosen": False},
]
TYPED = {"name": "Ledgerline", "scope": "openid invoices:read", "redirect_uris": "https://app.ledgerline.example/callback",
         "post_logout_redirect_uris": "", "access_token_format": "opaque"}  # fmt: skip
SECRET = "wws_7Fk2mPq9LxVt3RzYc8HnBw5JdGs1KaE6uQx9Qz"
CONSOLE_CLIENT_PAGES: Mapping[str, Context] = {
    "console/clients": listing(console("clients", clients=[LISTED, DOCUMENT, STRANGER], new_url="/console/clients/new/web",
                                       next_url="?cursor=x", values={"search": "l"})),
    "console/clients:none": listing(console("clients", clients=[], new_url="/console/clients/new/web", next_url=None, notice="client_deleted")),
    "console/client": ONE,
    "console/client:document": {**ONE, "client": {**DOCUMENT, **BARE, "disabled_at": NOW}, "secrets": [], "may": ["switch_on", "delete"],
                                "errors": {"form": "client_document"}},
    "console/client:no_secret": {**ONE, "client": {**STRANGER, **FACTS}, "secrets": [], "notice": "client_off"},
    "console/client_new": console("clients", kind="web", kinds=KINDS, resources=CHOICE, values={"scope": "openid profile email"}),
    "console/client_new:program": console("clients", kind="program", kinds=KINDS, resources=[], values={"application_type": "native"}),
    "console/client_new:service": console(
        "clients", kind="service", kinds=KINDS, resources=CHOICE, values={"name": "Billing"},
        errors={"form": "client_meanwhile", "name": "required", "resource": "invalid", "scope": Problem("refused", {"why": "The scope is not valid."})}),
    "console/client_edit": console("clients", client=LISTED, back_url="/console/clients/1", protocol_url="/console/clients/1/protocol", redirects=True, resources=CHOICE, values=TYPED),
    "console/client_edit:wrong": console(
        "clients", client=STRANGER, back_url="/console/clients/1", protocol_url="/console/clients/1/protocol", redirects=True, resources=[], values=TYPED,
        errors={"form": "client_meanwhile", "redirect_uris": "required",
                "post_logout_redirect_uris": Problem("refused", {"why": "A redirect URI is too long."})}),
    "console/client_protocol": console("clients", client=LISTED, back_url="/console/clients/1", fields=PROTOCOL, lifetime=300, values=METADATA),
    "console/client_protocol:wrong": console(
        "clients", client=LISTED, back_url="/console/clients/1", fields=PROTOCOL, lifetime=300, values={**METADATA, "jwks": "{"},
        errors={"form": "client_meanwhile", "jwks": "json_unreadable", "require_pkce": Problem("reason.pkce_public"),
                "security_profile": Problem("reason.fapi_server"), "grant_types": Problem("reason.grant_types", {"choices": "a, b"})}),
    "console/client_edit:service": console("clients", client=LISTED, back_url="/console/clients/1", protocol_url="/console/clients/1/protocol", redirects=False, resources=[], values=TYPED),
    "console/client_secret": reading(console("clients", made="created", client={**LISTED, "kind": "service"}, secret=SECRET, where=WHERE,
                                             old_until=None, done_url="/console/clients/1")),
    "console/client_secret:added": reading(console("clients", made="added", client=LISTED, secret=SECRET, where=WHERE, old_until=NOW + DAY,
                                                   done_url="/console/clients/1")),
    "console/client_delete": console("clients", client=LISTED, back_url="/console/clients/1"),
    "console/client_delete:wrong": console("clients", client=DOCUMENT, back_url="/console/clients/1", errors={"name": "client_name_wrong"}),
}  # fmt: skip
