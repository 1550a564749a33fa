"""The console's pages about the service: a token that turned up is checked, APIs and scopes are listed, settings shown without secrets."""

import html
from pathlib import Path

import pytest
from tests.fixtures.accounts import add_totp, another, make, user_of
from tests.fixtures.console import admin, server
from tests.fixtures.people import Person
from tests.fixtures.postgres import Store
from tests.fixtures.rows import in_turn
from tests.fixtures.servers import Server, open_server

from watchword.jose import jwk, jwt
from watchword.pages.console import settings as settings_page
from watchword.settings import DetailText, ScopeText, Upstream
from watchword.store.audit import events

__all__ = ["admin", "server"]
CHECK = "/console/check"
CANARY = "canary-s3cret"


def page_of(person: Person) -> str:
    assert person.page is not None
    return person.page.text


async def checked(admin: Person, text: str) -> str:
    await admin.open(CHECK)
    await admin.send({"credential": text})
    return html.unescape(page_of(admin))


async def test_a_token_that_turned_up_leads_to_the_page_that_revokes_it(admin: Person) -> None:
    issued = await admin.server.token(name="nightly backup")
    text = await checked(admin, f"Authorization: Bearer {issued.secret}\n")
    assert "It works now." in text
    assert "application:reports" in text
    assert f"/console/tokens/{issued.token.id}" in text
    assert issued.secret not in text, "it is not sent back"
    assert issued.secret not in admin.path


async def test_an_access_token_shows_its_application_and_what_it_says(admin: Person) -> None:
    client = await admin.server.client(access_token_format="jwt", name="Shop")
    token = (await admin.server.grant(client)).json()["access_token"]
    text = await checked(admin, token)
    assert f"/console/clients/{client.client.client_id}" in text
    for said in ("orders:read orders:write", "at+jwt", "ES256", "It works now."):
        assert said in text
    assert token not in text


async def test_a_forged_one_is_escaped_and_never_said_to_work(admin: Person) -> None:
    honest = (await admin.server.grant(await admin.server.client(access_token_format="jwt"))).json()[
        "access_token"
    ]
    assert "It works now." in await checked(admin, honest)
    head, _, signature = honest.split(".")
    payload = "eyJpc3MiOiI8c2NyaXB0PmFsZXJ0KDEpPC9zY3JpcHQ-Iiwic3ViIjoieCJ9"  # {"iss":"<script>alert(1)</script>","sub":"x"}
    await admin.open(CHECK)
    await admin.send({"credential": f"{head}.{payload}.{signature}"})
    assert "It works now." not in admin.text
    assert "&lt;script&gt;alert(1)" in page_of(admin)
    assert "<script>alert" not in page_of(admin)


@in_turn(
    ("claims", "shown"),
    [
        ({"auth_time": 86400}, "2 January 1970"),
        ({"auth_time": True}, "true"),
        ({"auth_time": -1}, "-1"),
        ({"auth_time": 2**33}, "8589934592"),
        ({"other": 86400}, "86400"),
    ],
    ids=str,
)
async def test_a_claim_is_shown_as_a_time_where_it_is_one(
    admin: Person, claims: dict[str, object], shown: str
) -> None:
    text = await checked(admin, jwt.encode(jwk.generate("ES256"), claims))
    assert shown in text[text.index("What it says") : text.index("Its header")]


async def test_a_leaked_token_is_revoked_by_its_text_under_the_administrators_name(admin: Person) -> None:
    server = admin.server
    issued = await server.token()
    await admin.open(CHECK)
    await admin.send({"credential": issued.secret, "do": "end"})
    assert "It has been revoked" in admin.text
    (event,) = await server.runtime.database.read(events.list_events, limit=5, name="token.compromised")
    assert (event.target, event.actor) == (issued.token.id, (await user_of(server)).id)
    assert "It has been revoked." in await checked(admin, issued.secret)


async def test_to_revoke_one_takes_a_recent_proof_and_to_look_does_not(admin: Person) -> None:
    secret = (await admin.server.token()).secret
    await admin.open(CHECK)
    form = admin.form()
    admin.server.clock.advance(601)
    assert (
        await admin.http.post(CHECK, data={**form, "credential": secret, "do": "check"})
    ).status_code == 200
    answer = await admin.http.post(CHECK, data={**form, "credential": secret, "do": "end"})
    assert answer.status_code == 303
    assert secret not in answer.headers["location"]
    assert "It works now." in await checked(admin, secret)


async def test_an_empty_form_says_what_is_missing(admin: Person) -> None:
    await admin.open(CHECK)
    await admin.send({"credential": "  "})
    assert admin.page is not None
    assert admin.page.status_code == 400
    assert 'id="credential-error"' in page_of(admin)


async def test_a_check_needs_the_form_of_the_page(admin: Person) -> None:
    secret = (await admin.server.token()).secret
    assert "It works now." in await checked(admin, secret)
    answer = await admin.http.post(CHECK, data={"credential": secret})
    assert answer.status_code == 400
    assert "It works now." not in answer.text


async def test_only_administrators_see_these_pages(admin: Person) -> None:
    server = admin.server
    await make(server, name="kim", email="kim@example.com")
    kim = Person(server, another(server))
    pages = [f"/console/{section}" for section in ("scopes", "check", "playground", "settings")]
    for page in pages:
        assert (await admin.open(page)).status_code == 200
        assert "/sign-in" in str((await kim.open(page)).url)
    await kim.sign_in("kim")
    for page in pages:
        assert (await kim.open(page)).status_code == 403


async def opened(server: Server, browser: Person, page: str) -> str:
    await make(server, is_admin=True)
    await browser.sign_in()
    await add_totp(browser)
    assert (await browser.open(page)).status_code == 200
    return html.unescape(page_of(browser))


async def test_apis_and_scopes_are_shown_as_people_read_them(store: Store, tmp_path: Path) -> None:
    settings = {
        "resources": {"https://api.example.com/orders": "Orders API"},
        "scopes": {
            "orders:read": ScopeText(
                sentence={"en": "See your orders", "de": "Ihre Bestellungen sehen"}, personal=True
            ),
            "orders:delete": ScopeText(sentence="Delete your orders", risk="high", optional=True),
        },
        "token_formats": {"https://api.example.com/orders": "opaque"},
        "authorization_details": {"payment": DetailText(sentence="Pay from your account")},
    }
    async with (
        open_server(tmp_path, on=store.address, mode="production", **settings) as server,
        another(server) as browser,
    ):
        await server.client(scope="openid email introspect orders:read reports:run")
        text = await opened(server, Person(server, browser), "/console/scopes")
        for shown in (
            "Orders API",
            "See your orders",
            "Delete your orders",
            "Can be left out",
            "Pay from your account",
        ):
            assert shown in text
        advice = text[text.index("Worth a look") : text.index("Orders API")]
        assert "reports:run" in advice
        for described in ("openid", "email", "introspect", "orders:read"):
            assert f">{described}<" not in advice
        browser.cookies.set("ww-language", "de")
        assert "Ihre Bestellungen sehen" in (await browser.get("/console/scopes")).text


async def test_settings_are_shown_without_any_secret(store: Store, tmp_path: Path) -> None:
    upstream = Upstream(
        name="northwind",
        title="Northwind",
        client_id="us",
        client_secret=CANARY,
        issuer="https://sso.example",
    )
    settings = {
        "smtp_url": f"smtp://mailer:{CANARY}@mail.example:587?starttls={CANARY}",
        "mail_from": "auth@example.com",
        "upstream": (upstream,),
        "service_name": "Northwind",
        "accent_colour": "#ffff00",
    }
    async with (
        open_server(tmp_path, on=store.address, mode="production", **settings) as server,
        another(server) as browser,
    ):
        text = await opened(server, Person(server, browser), "/console/settings")
        assert CANARY not in text
        for shown in ("smtp://mail.example:587", "northwind", "auth@example.com", "Northwind", "0.1.0"):
            assert shown in text
        light, dark = text[text.index("Colour, light") :].split("Colour, dark", 1)
        assert "#ffff00" not in light, "too pale to be read on white: the pages show it darker"
        assert "#ffff00" in dark


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (f"postgresql://ww:{CANARY}@db.example:5432/ww?password={CANARY}&sslmode=require", "postgresql://db.example:5432/ww"),
        (f"postgresql:///ww?host=/run&password={CANARY}", "postgresql:///ww"),
        (f"smtps://{CANARY}@mail.example", "smtps://mail.example"),
        ("https://auth.example.com", "https://auth.example.com"),
        ("watchword.db", "watchword.db"),
        (None, ""),
        (600, "600"),
        (True, "true"),
        (("ES256", "EdDSA"), "ES256, EdDSA"),
        ("data:image/png;base64,AAAA", "data:image/png;base64"),
    ],
)  # fmt: skip
def test_an_option_is_shown_as_it_is_written_but_for_its_secret(value: object, text: str) -> None:
    assert settings_page.shown(value) == text
