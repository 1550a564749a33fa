"""The console in German: whatever a form is refused for is said in German, also what only the rules themselves know."""

import html
import re
from collections.abc import Mapping

import pytest
from tests.fixtures.accounts import make, user_of
from tests.fixtures.console import admin, server
from tests.fixtures.console_forms import form_of
from tests.fixtures.people import Person

from watchword.flows.trust import trust_rules
from watchword.flows.trust.trust_rules import TrustInput
from watchword.pages import languages

__all__ = ["admin", "server"]
GERMAN = languages.available()["de"].texts
SAID = re.compile(r'class="error" id="[^"]*">.*?<span>(.*?)</span>|note-danger" role="alert">.*?<p>(.*?)</p>', re.DOTALL)  # fmt: skip
# The text that repeats what the rules say in English
OF_THE_RULES = "problem.refused"
TOKEN = {"name": "nightly", "owner": "ci", "scope": "read", "days": "30"}
CLIENT = {"name": "Shop", "redirect_uris": "https://shop.example.com/back", "scope": "openid"}
RULE = {"name": "deploy", "issuer": "https://ci.example.com", "claims": "repository=acme/shop", "subject": "ci:{repository}",
        "scope": "deploy", "max_lifetime": "3600", "token_lifetime": "600"}  # fmt: skip
PROTOCOL = {"grant_types": "authorization_code", "token_endpoint_auth_method": "client_secret_basic", "security_profile": "default",
            "application_type": "web", "subject_type": "public", "require_pkce": "yes"}  # fmt: skip
PEOPLE = {"name": "acme", "issuer": "https://idp.example.com", "email_domains": "acme.example", "scope": "read",
          "max_lifetime": "3600", "token_lifetime": "600"}  # fmt: skip
CASES: Mapping[str, tuple[str, str, Mapping[str, str], tuple[Mapping[str, str], ...]]] = {
    "a new token": ("tokens/new", "", TOKEN, (
        {"name": ""}, {"owner": "\u202ex"}, {"scope": 'a"b'}, {"scope": "a" * 5000}, {"days": "2"}, {"resource": "x"},
        {"name": "n" * 300}, {"name": "\u200b"}, {"days": "never"},
    )),
    "a new application": ("clients/new/web", "", CLIENT, (
        {"name": ""}, {"name": "a\u200bb"}, {"redirect_uris": "http://shop.example.com"}, {"redirect_uris": "https://a.example/#f"},
        {"redirect_uris": "app:/back"}, {"redirect_uris": "https://a.example/?code=1"}, {"redirect_uris": "https://a.example/../b"},
        {"redirect_uris": "\n".join(f"https://a.example/{n}" for n in range(60))}, {"redirect_uris": "https://a.example/" + "a" * 2500},
        {"scope": 'a"b'}, {"resource": "x"}, {"access_token_format": "x"},
    )),
    "an application": ("clients/{client}/edit", "", CLIENT, (
        {"post_logout_redirect_uris": "https://a.example/#x"}, {"redirect_uris": ""}, {"version": "99"}, {"access_token_format": "x"},
    )),
    "an application's protocol": ("clients/{client}/protocol", "", PROTOCOL, (
        {"jwks": "{"}, {"jwks_uri": "http://a.example/k"}, {"access_token_lifetime": "4"}, {"grant_types": "x"}, {"security_profile": "fapi2"},
        {"token_endpoint_auth_method": "private_key_jwt"}, {"token_endpoint_auth_method": "tls_client_auth"}, {"tls_client_auth_subject": "dn CN=x"},
        {"frontchannel_logout_uri": "https://b.example/x"}, {"id_token_signed_response_alg": "x"}, {"userinfo_encrypted_response_alg": "x"},
        {"request_object_signing_alg": "x"}, {"require_signed_request_object": "yes"}, {"token_exchange": '{"serves": []}'}, {"token_exchange": "[]"},
        {"jwks": '{"keys": [{"kty": "oct", "k": "AAAA"}]}'}, {"authorization_details_types": "x"},
        {"sector_identifier_uri": "https://nobody.invalid/"}, {"token_endpoint_auth_method": "none", "require_pkce": ""},
    )),
    "an invitation": ("people/new", "invite", {}, ({"email": "nobody"}, {"email": ""}, {"email": "kim@example.com"})),
    "a new account": ("people/new", "create", {"username": "lee"}, (
        {"username": "a b"}, {"username": "lee@example.com"}, {"username": "-lee"}, {"username": "a..b"}, {"username": "n" * 65},
        {"username": "leе"}, {"username": "kim"}, {"address": "nobody"}, {"address": "kim@example.com"},
    )),
    "a person's name": ("people/{kim}", "rename", {}, ({"display_name": "x" * 300}, {"display_name": "\u202ex"})),
    "a person's address": ("people/{kim}", "address", {}, ({"email": ""}, {"email": "nobody"}, {"email": "ada@example.com"}, {"email": "x@example.com", "shown": "y"})),
    "a person to delete": ("people/{kim}/delete", "", {}, ({"identifier": "x"},)),
    "an application to delete": ("clients/{client}/delete", "", {}, ({"name": "x"},)),
    "a rule for jobs": ("trust/new", "", RULE, (
        {"issuer": "http://ci.example.com"}, {"issuer": "http://localhost"}, {"subject": "nobody"}, {"subject": "ci:{x"}, {"claims": "x"}, {"claims": "a=b\na=c"},
        {"claims": "repository=**"}, {"claims": "repository=" + "a" * 600}, {"scope": 'a"b'}, {"name": "deployed"}, {"name": "a\u200bb"}, {"max_lifetime": "1"},
        {"resources": "x"}, {"name": "n" * 300},
    )),
    "a rule for people": ("trust/new-people", "", PEOPLE, ({"email_domains": "x"}, {"email_domains": "example.com", "issuer": "ftp://x"})),
    "a key": ("keys/{key}", "", {}, ({"beginning": "x"},)),
}  # fmt: skip


def german(text: str) -> bool:
    """Whether a text is one of the catalogue, filled in."""
    plain = html.unescape(re.sub(r"<[^>]+>", "", text)).strip()
    known = (
        re.escape(one) for key, one in GERMAN.items() if key.startswith("problem.") and key != OF_THE_RULES
    )
    return any(re.fullmatch(re.sub(r"\\\{[a-z_]+\\\}", ".*", one), plain, re.DOTALL) for one in known)


async def _addresses(admin: Person) -> dict[str, str]:
    server = admin.server
    await make(server, "kim", "kim@example.com")
    client = await server.client(
        name="Before", redirect_uris=["https://a.example/"], grant_types=["authorization_code"]
    )
    await trust_rules.create(
        server.runtime,
        TrustInput(
            name="deployed",
            issuer="https://ci.example.com",
            scope="deploy",
            claims={"repository": "acme/shop"},
            subject="ci:{repository}",
        ),
        actor="test",
    )
    (key, _), *_ = await server.runtime.keyring.states()
    kim = await user_of(server, "kim")
    return {"kim": kim.id, "client": client.client.client_id, "key": key.kid}


async def test_every_refusal_of_a_form_is_in_german(admin: Person) -> None:
    addresses = await _addresses(admin)
    admin.http.headers["accept-language"] = "de"
    for path, do, honest, wrong in CASES.values():
        page = "/console/" + path.format(**addresses)
        for given in wrong:
            await admin.open(page)
            form = form_of(admin, do) if do else admin.form(having="csrf", index=-1)
            assert form is not None
            form.pop("", None)
            answer = await admin.http.post(page, data={**form, **honest, **given})
            assert answer.status_code in (400, 409), (page, given, answer.status_code)
            said = [first or second for first, second in SAID.findall(answer.text)]
            assert said, (page, given, answer.text[-3000:])
            assert [text for text in said if not german(text)] == [], (page, given)


@pytest.mark.parametrize("query", ["sessions?user=nobody", "tokens?owner=%E2%80%AEx"])
async def test_every_refusal_of_a_filter_is_in_german(admin: Person, query: str) -> None:
    admin.http.headers["accept-language"] = "de"
    answer = await admin.open(f"/console/{query}")
    assert answer.status_code == 400
    said = [first or second for first, second in SAID.findall(answer.text)]
    assert said
    assert all(german(text) for text in said), said
