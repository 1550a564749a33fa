"""The console's applications: found, registered, changed, given secrets, switched off and deleted by an administrator."""

import re
from urllib.parse import quote

import httpx
import pytest
from tests.fixtures.console import admin, server
from tests.fixtures.people import Person
from tests.fixtures.rows import in_turn
from tests.fixtures.servers import Server

from watchword.flows.clients import client_registry, stated_clients
from watchword.flows.clients.client_metadata import ClientInput
from watchword.oauth.clients import Client
from watchword.pages.console import frame
from watchword.store import clients, document_clients

__all__ = ["admin", "server"]
ORDERS = "https://api.example.com/orders"
DOCUMENT = "https://agent.example.com/apps/client.json"
CALLBACK = "https://app.example.com/cb"


async def new(admin: Person, kind: str, **given: object) -> httpx.Response:
    """Fill in the form of a new application."""
    await admin.open(f"/console/clients/new/{kind}")
    return await admin.send({"name": "Ledgerline", **given}, having="name")


async def press(admin: Person, what: str, **given: object) -> httpx.Response:
    """Send the form of the page that does something."""
    count = admin.page.text.count('name="do"') if admin.page else 0
    index = next(n for n in range(count) if admin.form(having="do", index=n)["do"] == what)
    return await admin.send(given, having="do", index=index)


async def stored(server: Server, client_id: str) -> Client:
    facts = await server.runtime.database.read(clients.find_client, client_id)
    assert facts is not None
    return facts.client


def shown_secret(admin: Person) -> str:
    found = re.search(r"\bwws_[0-9A-Za-z]{36}\b", admin.text)
    assert found is not None, admin.text
    return found[0]


def shown_id(admin: Person) -> str:
    found = re.search(r"\bclient_[0-9a-z]{26}\b", admin.text)
    assert found is not None, admin.text
    return found[0]


async def asks(server: Server, client_id: str, secret: str) -> int:
    """Ask for a token by a secret."""
    answer = await server.http.post(
        "/token", auth=(client_id, secret), data={"grant_type": "client_credentials"}
    )
    return answer.status_code


async def a_document(server: Server, **changes: object) -> str:
    described = {"client_id": DOCUMENT, "client_name": "Agent", "redirect_uris": [CALLBACK], **changes}
    client = stated_clients.read(
        server.settings, described, DOCUMENT, origin="document", methods=("none",), fallback_name="x"
    )
    now = server.runtime.now()
    await server.runtime.database.write(document_clients.keep_reading, client, fresh_until=now + 600, now=now)
    return f"/console/clients/{quote(DOCUMENT, safe='')}"


async def test_a_service_is_registered_and_its_secret_shown_once_gets_tokens(admin: Person) -> None:
    answer = await new(admin, "service", scope="orders:read", resource=ORDERS, access_token_format="opaque")
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    issuer = admin.server.settings.issuer
    assert f"{issuer}/.well-known/openid-configuration" in admin.text
    client_id, secret = shown_id(admin), shown_secret(admin)
    assert await asks(admin.server, client_id, secret) == 200
    client = await stored(admin.server, client_id)
    assert (client.grant_types, client.scope, client.resources) == (
        ("client_credentials",),
        ("orders:read",),
        (ORDERS,),
    )
    assert client.access_token_format == "opaque"
    await admin.open(f"/console/clients/{client_id}")
    assert "Orders API" in admin.text
    assert secret not in admin.text


async def test_a_web_application_may_send_people_back_to_the_named_addresses_alone(admin: Person) -> None:
    await new(admin, "web", redirect_uris=f"{CALLBACK}\r\n\r\n  https://test.example.com/cb \r\n")
    client = await stored(admin.server, shown_id(admin))
    assert client.redirect_uris == (CALLBACK, "https://test.example.com/cb")
    assert client.grant_types == ("authorization_code", "refresh_token")
    assert client.token_endpoint_auth_method == "client_secret_basic"
    assert client.scope == ("openid", "profile", "email")
    assert client.require_pkce


async def test_a_program_gets_no_secret_and_may_use_a_scheme_of_its_own_on_a_device(admin: Person) -> None:
    given = {"redirect_uris": "com.example.app:/cb", "application_type": "native"}
    assert (await new(admin, "program", **given)).status_code == 200
    assert "registered" in admin.text
    assert "wws_" not in admin.text
    client = await stored(admin.server, shown_id(admin))
    assert admin.path == f"/console/clients/{client.client_id}"
    assert client.is_public
    given["application_type"] = "web"
    assert (await new(admin, "program", **given)).status_code == 400
    assert "Only a native client" in admin.text


@in_turn(
    ("kind", "given", "says"),
    [
        pytest.param("service", {"name": " "}, "Fill this in", id="without a name"),
        pytest.param("service", {"name": "x" * 201}, "too long", id="with too long a name"),
        pytest.param("service", {"name": "a\u202eb"}, "invisible characters", id="with a name that turns the text"),
        pytest.param("web", {}, "Fill this in", id="without an address to go back to"),
        pytest.param("web", {"redirect_uris": "http://app.example.com/cb"}, "must be https", id="with one in the clear"),
        pytest.param("web", {"redirect_uris": CALLBACK, "scope": 'a"b'}, "not allowed", id="with a scope that is none"),
        pytest.param(
            "web", {"redirect_uris": CALLBACK, "resource": "https://other.example"}, "can’t be used", id="for another API"
        ),
        pytest.param(
            "service", {"access_token_format": "jpeg"}, "must be one of jwt, opaque", id="with tokens of no format"
        ),
        pytest.param(
            "program", {"redirect_uris": CALLBACK, "scope": "watchword:clients:write"}, "public client", id="for power over the server"
        ),
        pytest.param("web", {"redirect_uris": "\n".join(f"{CALLBACK}/{n}" for n in range(51))}, "at most 50 entries", id="with 51 addresses"),
    ],
)  # fmt: skip
async def test_a_form_that_is_wrong_says_where_and_keeps_what_was_typed(
    admin: Person, kind: str, given: dict[str, str], says: str
) -> None:
    answer = await new(admin, kind, **{"name": "Typed before", **given})
    assert answer.status_code == 400
    assert says in admin.text
    assert "name" in given or 'value="Typed before"' in answer.text
    assert (await admin.server.runtime.database.read(clients.list_clients, after="", limit=9)) == []


async def test_a_form_that_is_sent_again_registers_nothing_more(admin: Person) -> None:
    await admin.open("/console/clients/new/service")
    form = {**admin.form(having="name"), "name": "Twice"}
    address = form.pop("")
    assert (await admin.http.post(address, data=form)).status_code == 200
    again = await admin.http.post(address, data=form)
    assert again.headers["location"].endswith("/console/clients?notice=client_once")
    assert len(await admin.server.runtime.database.read(clients.list_clients, after="", limit=9)) == 1


async def test_a_kind_that_is_none_is_not_there(admin: Person) -> None:
    assert (await admin.open("/console/clients/new/toaster")).status_code == 404


async def test_applications_are_found_by_name_and_identifier_and_shown_with_where_they_come_from(
    admin: Person,
) -> None:
    server = admin.server
    await a_document(server)
    stranger = ClientInput(
        name="100% <Stranger>", redirect_uris=[CALLBACK], grant_types=["authorization_code"]
    )
    await client_registry.register(server.runtime, stranger, actor="test", origin="dynamic")
    ours = await server.client(name="Ours")
    await admin.open("/console/clients")
    for text in ("Described by  agent.example.com", "Registered itself", "Ours", "Program in a browser"):
        assert text in admin.text
    for search, expected in (
        ("oURS", ["Ours"]),
        (ours.client.client_id.upper(), ["Ours"]),
        ("https://agent.", ["Agent"]),
        ("100%", ["100% <Stranger>"]),
        ("%", []),
        ("nobody", []),
    ):
        await admin.open(f"/console/clients?search={quote(search)}")
        found = re.findall(
            r'href="[^"]*/console/clients/[^"/]+"><bdi>([^<]*)</bdi>', admin.page.text if admin.page else ""
        )
        assert [name.replace("&lt;", "<").replace("&gt;", ">") for name in found] == expected, search


async def test_a_long_list_goes_on_to_the_next_page(admin: Person) -> None:
    for number in range(51):
        await admin.server.client(
            name=f"client {number:02}", token_endpoint_auth_method="none", grant_types=["refresh_token"]
        )
    await admin.open("/console/clients?search=client")
    following = re.search(r'href="([^"]*cursor=[^"]*)"', admin.page.text if admin.page else "")
    assert following is not None
    await admin.open(following[1].replace("&amp;", "&"))
    assert len(re.findall(r'class="row"', admin.page.text if admin.page else "")) == 1
    assert (await admin.open("/console/clients?cursor=forged")).status_code == 400


async def test_all_applications_are_listed_the_newest_first_whatever_their_identifiers(
    admin: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frame, "PAGE", 2)
    for name in ("one", "two", "three"):
        given = ClientInput(name=name)
        await client_registry.register(admin.server.runtime, given, actor="test", client_id=f"{name}.example")
        admin.server.clock.advance(1)
    names: list[str] = []
    following = "/console/clients"
    for _ in range(2):
        page = (await admin.open(following)).text
        names += re.findall(r'href="[^"]*/console/clients/[^"/]+"><bdi>([^<]*)</bdi>', page)
        found = re.search(r'href="([^"]*cursor=[^"]*)"', page)
        following = found[1].replace("&amp;", "&") if found else ""
    assert names == ["three", "two", "one"]


async def test_an_application_may_be_called_new_or_have_any_sign_in_its_name(admin: Person) -> None:
    for client_id in ("new", "a/b", "x&y=1", "edit"):
        await client_registry.register(
            admin.server.runtime, ClientInput(name=f"called {client_id}"), actor="test", client_id=client_id
        )
        page = f"/console/clients/{quote(client_id, safe='')}"
        for below in ("", "/edit", "/delete"):
            assert (await admin.open(page + below)).status_code == 200
            assert f"called {client_id}" in admin.text
        await admin.open(page)
        links = [
            link.replace("&amp;", "&")
            for link in re.findall(
                r'href="([^"]*\?(?:owner|target)=[^"]*)"', admin.page.text if admin.page else ""
            )
        ]
        assert len(links) == 2
        assert [(await admin.open(link)).status_code for link in links] == [200, 200]
        assert "client.created" in admin.text, "what happened to it"


async def test_dc_02_the_name_of_a_stranger_is_text_on_every_page(admin: Person) -> None:
    name = '"><script>alert(1)</script>'
    given = ClientInput(name=name, redirect_uris=[CALLBACK], grant_types=["authorization_code"])
    registered = await client_registry.register(admin.server.runtime, given, actor="test", origin="dynamic")
    page = f"/console/clients/{registered.client.client_id}"
    for path in ("/console/clients", page, f"{page}/edit", f"{page}/delete"):
        answer = await admin.open(path)
        assert "alert(1)" in answer.text
        assert "<script>alert" not in answer.text


async def test_se_02_a_secret_is_made_by_a_proof_of_now_alone(admin: Person) -> None:
    registered = await admin.server.client()
    page = f"/console/clients/{registered.client.client_id}"
    await admin.open(page)
    await admin.open("/console/clients/new/service")
    admin.server.clock.advance(601)
    await admin.send({"name": "x"}, having="name")
    assert admin.path == "/step-up"
    await admin.open(page)
    assert admin.path == page, "looking is free"
    await press(admin, "add_secret")
    assert admin.path == "/step-up"
    assert len(await client_registry.secrets_of(admin.server.runtime, registered.client.client_id)) == 1
    assert len(await admin.server.runtime.database.read(clients.list_clients, after="", limit=9)) == 1
