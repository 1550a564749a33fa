"""What can be said of a client by the JSON API can be said by the command line, of a new one and of one that is there."""

import json
from pathlib import Path
from typing import Any

import pytest
import typer

from watchword.cli import client_metadata
from watchword.cli.clients import app
from watchword.endpoints.admin_clients import ClientView
from watchword.flows.clients.client_metadata import ClientInput
from watchword.http.operation import convert
from watchword.oauth.clients import ExchangeInput

KEYS = {"keys": []}
# Every member of a client: by which options it is said, and what it is then.
SAID: dict[str, tuple[list[str], Any]] = {
    "name": ([], "shop"),
    "redirect_uris": (["--redirect-uri", "https://a.example/cb"], ["https://a.example/cb"]),
    "post_logout_redirect_uris": (["--post-logout-redirect-uri", "https://a.example"], ["https://a.example"]),
    "grant_types": (["--grant", "device_code", "--grant", "refresh_token"], ["device_code", "refresh_token"]),
    "token_endpoint_auth_method": (["--auth", "client_secret_post"], "client_secret_post"),
    "scope": (["--scope", "a b"], "a b"),
    "resources": (["--resource", "https://api.example"], ["https://api.example"]),
    "application_type": (["--native"], "native"),
    "jwks": (["--jwks", "keys.json"], KEYS),
    "jwks_uri": (["--jwks", "https://a.example/jwks"], "https://a.example/jwks"),
    "access_token_format": (["--token-format", "opaque"], "opaque"),
    "access_token_lifetime": (["--lifetime", "5m"], 300),
    "access_token_status": (["--token-status"], True),
    "require_pkce": (["--no-pkce"], False),
    "require_pushed_authorization_requests": (["--pushed"], True),
    "require_signed_request_object": (["--signed-requests", "any"], True),
    "token_endpoint_auth_signing_alg": (["--auth-algorithm", "ES256"], "ES256"),
    "request_object_signing_alg": (["--request-algorithm", "ES256"], "ES256"),
    "authorization_details_types": (["--details", "payment", "--details", "x"], ("payment", "x")),
    "first_party": (["--first-party"], True),
    "groups": (["--group", "staff", "--group", "ops"], ("staff", "ops")),
    "dpop_bound_access_tokens": (["--dpop"], True),
    "tls_client_certificate_bound_access_tokens": (["--certificate-bound"], True),
    "tls_client_auth_subject": (["--certificate-subject", "san_dns=a.example"], ["san_dns", "a.example"]),
    "security_profile": (["--profile", "fapi2"], "fapi2"),
    "default_max_age": (["--max-age", "8h"], 28_800),
    "require_auth_time": (["--require-auth-time"], True),
    "default_acr_values": (["--acr", "mfa", "--acr", "pwd"], ("mfa", "pwd")),
    "backchannel_logout_uri": (["--backchannel-logout-uri", "https://a.example/o"], "https://a.example/o"),
    "backchannel_logout_session_required": (["--backchannel-logout-session-required"], True),
    "frontchannel_logout_uri": (["--frontchannel-logout-uri", "https://a.example/f"], "https://a.example/f"),
    "frontchannel_logout_session_required": (["--frontchannel-logout-session-required"], True),
    "token_exchange": (
        ["--exchange-from", "https://a.example"],
        ExchangeInput(serves=("https://a.example",)),
    ),
    "subject_type": (["--pairwise"], "pairwise"),
    "sector_identifier_uri": (["--sector", "https://a.example/s"], "https://a.example/s"),
    **{
        f"{kind}_signed_response_alg": (["--sign", f"{kind}=ES256"], "ES256")
        for kind in ("id_token", "userinfo", "introspection")
    },
    **{
        f"{kind}_encrypted_response_alg": (["--encrypt", f"{kind}=ECDH-ES"], "ECDH-ES")
        for kind in ("id_token", "userinfo", "introspection")
    },
    **{
        f"{kind}_encrypted_response_enc": (["--encrypt", f"{kind}=ECDH-ES/A256GCM"], "A256GCM")
        for kind in ("id_token", "userinfo", "introspection")
    },
}


GROUP: Any = typer.main.get_command(app)


def said(command: str, *arguments: str, before: ClientInput | None = None) -> dict[str, object]:
    """Return what a command makes of its arguments."""
    first = ["shop"] if command == "create" else ["client_1", "--name", "shop"]
    context = GROUP.commands[command].make_context(command, [*first, *arguments])
    return client_metadata.of(context.params, before)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with a file of keys."""
    monkeypatch.chdir(tmp_path)
    Path("keys.json").write_text(json.dumps(KEYS))


def test_every_member_of_a_client_has_its_option_and_is_shown() -> None:
    assert set(SAID) == set(ClientInput.__struct_fields__)
    assert set(SAID) <= set(ClientView.__struct_fields__)


@pytest.mark.parametrize("command", ["create", "update"])
def test_what_the_api_takes_the_options_say(command: str) -> None:
    for member, (arguments, value) in SAID.items():
        given = convert({"name": "shop", **said(command, *arguments)}, ClientInput)
        assert getattr(given, member) == value, member


@pytest.mark.parametrize(
    ("arguments", "taken_away"),
    [
        (["--resource", ""], {"resources": []}),
        (["--details", ""], {"authorization_details_types": []}),
        (["--group", ""], {"groups": []}),
        (["--redirect-uri", ""], {"redirect_uris": []}),
        (["--sector", ""], {"sector_identifier_uri": None}),
        (["--lifetime", ""], {"access_token_lifetime": None}),
        (["--jwks", ""], {"jwks": None, "jwks_uri": None}),
        (["--certificate-subject", ""], {"tls_client_auth_subject": None}),
        (["--backchannel-logout-uri", ""], {"backchannel_logout_uri": None}),
        (["--sign", "userinfo="], {"userinfo_signed_response_alg": None}),
        (
            ["--signed-requests", ""],
            {"require_signed_request_object": False, "request_object_signing_alg": None},
        ),
        (["--exchange-rules", ""], {"token_exchange": None}),
        (["--web", "--no-dpop"], {"application_type": "web", "dpop_bound_access_tokens": False}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_an_update_takes_away_what_is_named_empty(
    arguments: list[str], taken_away: dict[str, object]
) -> None:
    assert said("update", *arguments) == {"name": "shop", **taken_away}


def test_an_update_changes_of_the_rules_of_exchange_what_is_named() -> None:
    rules = ExchangeInput(serves=("https://a.example",), max_lifetime=60)
    before = ClientInput(name="shop", token_exchange=rules)
    changed = said("update", "--no-delegate", "--exchange-for", "https://b.example", before=before)
    assert convert(changed["token_exchange"], ExchangeInput) == ExchangeInput(
        serves=("https://a.example",), audiences=("https://b.example",), delegate=False, max_lifetime=60
    )


def test_rules_of_exchange_come_whole_from_a_file() -> None:
    target = {"issuer": "https://b.example", "client_id": "x", "scope": ["a"], "tell_email": True}
    Path("rules.json").write_text(json.dumps({"assertions": [target]}))
    rules = said("create", "--exchange-rules", "rules.json")["token_exchange"]
    assert convert(rules, ExchangeInput).assertions[0].tell_email
