"""The console's playground: flows are run step by step by its own client, and nothing of it is there before it is set up."""

import html
import json
import re
from pathlib import Path

import msgspec
import pytest
from tests.fixtures.accounts import add_totp, another, code_of, make
from tests.fixtures.console import admin, server
from tests.fixtures.documents import Documents, documents
from tests.fixtures.people import Person
from tests.fixtures.postgres import Store
from tests.fixtures.servers import open_server

from watchword.flows import playground
from watchword.flows.clients import client_metadata, client_registry
from watchword.settings.options import ScopeText
from watchword.store.audit import events
from watchword.store.audit.events import Event

__all__ = ["admin", "documents", "server"]
PAGE = "/console/playground"


def raw(person: Person) -> str:
    assert person.page is not None
    return html.unescape(person.page.text)


def answer(person: Person) -> dict[str, str]:
    """Return the last block of JSON on the page: the answer of the step."""
    found = re.findall(r"<pre[^>]*>(\{.*?\})</pre>", raw(person), re.DOTALL)
    assert found, raw(person)
    told: dict[str, str] = json.loads(found[-1])
    return told


async def set_up(person: Person) -> None:
    await person.open(PAGE)
    await person.send({"do": "setup"})
    assert "The playground is ready." in person.text


async def start(person: Person, flow: str, **extent: str) -> None:
    await person.open(PAGE)
    await person.send({"do": "run", "flow": flow, **extent}, having="scope")


def request_url(person: Person) -> str:
    found = re.search(r'href="([^"]*/authorize\?[^"]*)"', raw(person))
    assert found is not None, raw(person)
    return found[1]


async def authorized(person: Person, scope: str = "openid offline_access") -> None:
    """Send an authorization request and agree to it, up to the page with what came back."""
    await start(person, "authorization_code", scope=scope)
    await person.open(request_url(person))
    if person.path != PAGE:
        await person.send({"decision": "approve"})
    assert person.path == PAGE
    assert "Authorization response" in person.text


async def recorded(person: Person, name: str) -> Event:
    """Return the only event of a name, after a look at whether it is said to have been done in the person's session."""
    reading = person.server.runtime.database.read
    (began,) = await reading(events.list_events, limit=5, name="session.created")
    (event,) = await reading(events.list_events, limit=5, name=name)
    assert event.data["session"] == began.target
    return event


async def next_step(person: Person, do: str) -> None:
    await person.send({"do": do}, having="access_token")


async def test_a_sign_in_is_run_from_the_request_to_its_end(admin: Person) -> None:
    await set_up(admin)
    await authorized(admin)
    form = admin.form(having="code")
    code = form["code"]
    for received in (code, form["state"], admin.server.settings.issuer):
        assert f"<bdi>{received}</bdi>" in raw(admin)
    await admin.send({"do": "redeem"}, having="code")
    first = answer(admin)
    assert first["scope"] == "openid offline_access"
    for shown in ("POST /token", "code_verifier", "at+jwt", "It works now.", "refresh_token-title"):
        assert shown in raw(admin)
    for sent in ("authorization_code", f"{code[:12]}…"):  # of a secret the beginning alone
        assert f"<bdi>{sent}</bdi>" in raw(admin)
    await next_step(admin, "introspect")
    assert "POST /introspect" in raw(admin)
    told = answer(admin)
    assert told["active"] is True
    assert told["client_id"] == playground.CLIENT_ID
    await next_step(admin, "userinfo")
    assert answer(admin) == {"sub": told["sub"]}
    await next_step(admin, "refresh")
    assert answer(admin)["refresh_token"] != first["refresh_token"]
    await next_step(admin, "revoke")
    await next_step(admin, "introspect")
    assert answer(admin) == {"active": False}
    assert (await recorded(admin, "grant.ended")).actor == playground.CLIENT_ID


async def test_the_application_itself_and_a_device(admin: Person) -> None:
    await set_up(admin)
    orders = "https://api.example.com/orders"
    await start(admin, "client_credentials", resource=orders, scope="")
    await next_step(admin, "introspect")
    assert answer(admin)["aud"] == orders
    assert (await recorded(admin, "playground.token")).actor.startswith("user_")
    await start(admin, "device_code", scope="openid")
    code = answer(admin)["user_code"]
    begun = admin.form(having="device_code")
    await admin.send({"do": "poll"}, having="device_code")
    assert answer(admin)["error"] == "authorization_pending"
    await admin.open(f"/device?user_code={code}")
    await admin.send({})
    await admin.send({"decision": "approve"})
    admin.server.clock.advance(6)
    address = begun.pop("")
    admin.page = await admin.http.post(address, data={**begun, "do": "poll"})
    assert answer(admin)["scope"] == "openid"
    assert "Ask as the device" not in admin.text


async def test_a_refusal_is_shown_as_an_application_gets_it(admin: Person) -> None:
    await set_up(admin)
    await start(admin, "client_credentials", scope="watchword:admin")
    assert answer(admin)["error"] == "invalid_scope"
    await start(admin, "authorization_code", scope="no:such")
    await admin.open(request_url(admin))
    assert "invalid_scope" in admin.text
    assert "Redeem the code" not in admin.text


async def test_nothing_is_there_before_it_is_set_up_and_then_nobody_else_can_use_it(admin: Person) -> None:
    runtime = admin.server.runtime
    await admin.open(PAGE)
    form = admin.form()
    await admin.http.post(PAGE, data={**form, "do": "run", "flow": "client_credentials"})
    assert await client_registry.find(runtime, playground.CLIENT_ID) is None
    await set_up(admin)
    (event,) = await runtime.database.read(events.list_events, limit=5, name="client.created")
    assert event.target == playground.CLIENT_ID
    for secret in ("", "wrong"):
        form = {
            "grant_type": "client_credentials",
            "client_id": playground.CLIENT_ID,
            "client_secret": secret,
        }
        refused = await admin.server.http.post("/token", data=form)
        assert refused.json()["error"] == "invalid_client"


async def test_an_answer_that_somebody_else_was_given_is_not_redeemed_here(admin: Person) -> None:
    await set_up(admin)
    await authorized(admin)
    await admin.send({"do": "redeem"}, having="code")
    assert "access_token" in answer(admin)
    server = admin.server
    await make(server, name="kim", email="kim@example.com")
    async with another(server) as browser:
        kim = Person(server, browser)
        await kim.sign_in("kim")
        await start(admin, "authorization_code", scope="openid")
        # A request of Kim's own, whose answer she has the administrator's browser follow
        await kim.open(re.sub(r"(code_challenge|state)=[^&]*", r"\1=" + "k" * 43, request_url(admin)))
        sent = await browser.post("/authorize/consent", data={**_fields(kim), "decision": "approve"})
    assert "code=" in sent.headers["location"]
    await admin.open(sent.headers["location"])
    await admin.send({"do": "redeem"}, having="code")
    assert answer(admin)["error"] == "invalid_grant"


def _fields(person: Person) -> dict[str, str]:
    return {name: value for name, value in person.form().items() if name}


async def test_a_step_takes_the_form_of_the_page(admin: Person) -> None:
    await set_up(admin)
    await start(admin, "client_credentials", scope="")
    assert "access_token" in answer(admin)
    stranger = await admin.http.post(PAGE, data={"do": "run", "flow": "client_credentials"})
    assert stranger.status_code == 400
    assert "access_token" not in stranger.text


async def test_a_step_takes_a_recent_proof(admin: Person) -> None:
    await set_up(admin)
    await admin.open(PAGE)
    form = {**_form(admin), "do": "run", "flow": "client_credentials", "scope": ""}
    assert (await admin.http.post(PAGE, data=form)).status_code == 200
    admin.server.clock.advance(601)
    assert (await admin.http.post(PAGE, data=form)).status_code == 303


async def test_a_code_is_there_again_after_a_proof_that_was_asked_for_before_its_step(admin: Person) -> None:
    await set_up(admin)
    await authorized(admin)
    form = admin.form(having="code")
    admin.server.clock.advance(601)
    await admin.send({"do": "redeem"}, having="code")
    assert admin.path == "/step-up"
    code = code_of(admin.server, admin.server.extra["totp"])
    await admin.send({"code": code}, having="code")
    assert admin.path == PAGE
    again = admin.form(having="code")
    assert [again[name] for name in ("code", "state")] == [form[name] for name in ("code", "state")]
    await admin.send({"do": "redeem"}, having="code")
    assert answer(admin)["error"] == "invalid_grant", "ten minutes are too long for the code itself"


@pytest.mark.parametrize(
    ("method", "more", "shown"),
    [
        ("client_secret_basic", {}, ["Basic …"]),
        ("client_secret_post", {}, ["client_secret"]),
        ("private_key_jwt", {"jwks_uri": "https://app.example.com/jwks"}, ["client_assertion", "jwt-bearer"]),
        ("zero_proof", {}, ["DPoP", "client_assertion", "zero-proof"]),
    ],
)
async def test_a_request_authenticates_as_the_client_does(
    admin: Person, method: str, more: dict[str, str], shown: list[str]
) -> None:
    await set_up(admin)
    client = await playground.find(admin.server.runtime)
    assert client is not None
    given = msgspec.structs.replace(
        client_metadata.to_input(client), token_endpoint_auth_method=method, **more
    )
    await client_registry.change(
        admin.server.runtime, client.client_id, given, expected_version=None, actor="test"
    )
    await start(admin, "client_credentials", scope="")
    text = raw(admin)
    assert all(part in text for part in shown), text
    assert ("Basic" in text) is (method == "client_secret_basic")


def _form(person: Person) -> dict[str, str]:
    return {name: value for name, value in person.form(having="scope").items() if name}


async def test_its_client_can_be_switched_off_like_any_other(admin: Person) -> None:
    await set_up(admin)
    await start(admin, "client_credentials", scope="")
    token = answer(admin)["access_token"]
    await admin.open(f"/console/clients/{playground.CLIENT_ID}")
    await admin.send({"do": "switch_off"})
    await admin.open(PAGE)
    assert "switched off" in admin.text
    for do in ("client_credentials", "introspect", "revoke"):
        await admin.send({"do": do, "access_token": token}, having="scope")
        assert answer(admin)["error"] == "invalid_client"


async def test_an_mcp_server_is_compared_with_what_is_set_here(
    store: Store, tmp_path: Path, documents: Documents
) -> None:
    orders = f"{documents.base}/mcp"
    settings = {"resources": {orders: "Orders"}, "scopes": {"orders:read": ScopeText(sentence="See orders")}}
    async with (
        open_server(tmp_path, on=store.address, fetch_allow_loopback=True, **settings) as server,
        another(server) as browser,
    ):
        await make(server, is_admin=True)
        person = Person(server, browser)
        await person.sign_in()
        await add_totp(person)
        await set_up(person)
        told = {
            "resource": orders,
            "authorization_servers": [server.settings.issuer],
            "scopes_supported": ["orders:read", "openid", "phone"],
        }
        documents.publish("/.well-known/oauth-protected-resource/mcp", told)
        await person.send({"url": orders}, having="url")
        for good in (
            "names the same address",
            "It sends clients to this service",
            "Tokens can be for it",
            "are described here",
        ):
            assert good in person.text
        assert person.form(having="url")["url"] == orders
        documents.publish(
            "/.well-known/oauth-protected-resource/other",
            {
                "resource": f"{documents.base}/",
                "authorization_servers": ["https://elsewhere"],
                "scopes_supported": ["x:y"],
            },
        )
        await person.send({"url": f"{documents.base}/other"}, having="url")
        for bad in ("character by character", "authorization_servers must have", "under [resources]", "x:y"):
            assert bad in person.text
        for url, said in (
            ("no address", "is not an https address"),
            (f"{documents.base}/missing", "could not be read"),
            (f"{documents.base}/?q", "oauth-protected-resource?q: "),
            (f"{documents.base}/$(id)", f"watchword doctor '{documents.base}/$(id)'"),
            ("http://10.0.0.1/mcp", "could not be read"),
        ):
            await person.send({"url": url}, having="url")
            assert said in person.text
        for odd in (["<script>"], b'{"resource": "x", "more": ' + b"[" * 5000 + b"]" * 5000 + b"}"):
            documents.publish("/.well-known/oauth-protected-resource/odd", odd)
            await person.send({"url": f"{documents.base}/odd"}, having="url")
            assert "is not protected resource metadata" in person.text


async def test_an_empty_address_says_what_is_missing(admin: Person) -> None:
    await set_up(admin)
    await admin.send({"url": " "}, having="url")
    assert admin.page is not None
    assert admin.page.status_code == 400
    assert 'id="url-error"' in raw(admin)
