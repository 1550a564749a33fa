"""What operators make of the pages: templates, languages, places; and what developers are told in development."""

import re
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from tests.fixtures.accounts import another, make, sign_out
from tests.fixtures.code_flow import REDIRECT, register, request
from tests.fixtures.people import PASSWORD, Person, letters
from tests.fixtures.servers import Server, open_server

from watchword.app import check_files
from watchword.pages.console.frame import SECTIONS
from watchword.pages.contract import DECLARATION, TEMPLATES
from watchword.settings import Settings, SettingsError, Upstream


async def open_page(server: Server, path: str, **headers: str) -> Person:
    """Return somebody who has opened a page."""
    person = Person(server, another(server))
    person.http.headers.update(headers)
    await person.open(path)
    return person


async def test_templates_languages_and_texts_of_ones_own_are_served(tmp_path: Path) -> None:
    own = tmp_path / "branding"
    (own / "locales").mkdir(parents=True)
    (own / "sign_in.html").write_text(
        f'{DECLARATION}\n{{% extends "watchword/sign_in.html" %}}{{% block heading %}}Welcome to {{{{ brand.name }}}}{{% endblock %}}',
        "utf-8",
    )
    french = '[language]\nname = "Français"\ndirection = "ltr"\n[sign_in]\ncontinue = "Continuer"\n'
    (own / "locales" / "fr.toml").write_text(french, "utf-8")
    (own / "locales" / "en.toml").write_text('[sign_in]\ncontinue = "Go on"\n', "utf-8")
    async with open_server(tmp_path, template_directory=str(own), service_name="Northwind") as server:
        english = await open_page(server, "/sign-in")
        assert "Welcome to Northwind" in english.text
        assert "Go on" in english.text
        french_page = await open_page(server, "/sign-in", **{"accept-language": "fr-CA, en;q=0.5"})
        assert "Continuer" in french_page.text
        assert "Email or user name" in french_page.text, "what is not translated is shown in English"
        await english.open("/sign-in?lang=fr")
        await english.open("/recover-nothing")
        await english.open("/sign-in")
        assert "Continuer" in english.text, "the choice is kept"
        assert "English" in english.text
        assert "Deutsch" in english.text
        said = await server.http.get("/.well-known/openid-configuration")
        assert said.json()["ui_locales_supported"] == ["en", "de", "fr"]


async def test_a_frame_of_the_console_of_ones_own_shows_sections_that_it_does_not_know(
    tmp_path: Path,
) -> None:
    packaged = (TEMPLATES / "console" / "layout.html").read_text("utf-8")
    known, changed = re.subn(r'\{"overview".*?\}', '{"overview": "key"}', packaged)
    assert changed == 1
    own = tmp_path / "branding" / "console" / "layout.html"
    own.parent.mkdir(parents=True)
    own.write_text(f"{DECLARATION}\n{known}", "utf-8")
    async with open_server(
        tmp_path, mode="development", template_directory=str(tmp_path / "branding")
    ) as server:
        await make(server, is_admin=True)
        person = Person(server, another(server))
        await person.sign_in()
        for section in SECTIONS:
            await person.open("/console" if section == "overview" else f"/console/{section}")
            assert person.page is not None
            assert person.page.status_code == 200
            assert 'href="http://localhost/console/settings"' in person.page.text


BROKEN: Mapping[str, tuple[str, str]] = {
    "a template for another version of the contract": ("sign_in.html", "{# watchword-pages: 99 #}"),
    "a template that does not parse": ("sign_in.html", DECLARATION + "{% block %}"),
    "a block that nothing has": (
        "sign_in.html",
        DECLARATION
        + '{% extends "watchword/sign_in.html" %}{% if 1 %}{% block heding %}x{% endblock %}{% endif %}',
    ),
    "a template that extends none": ("sign_in.html", DECLARATION + '{% extends "watchword/signin.html" %}'),
    "a template that extends itself": ("sign_in.html", DECLARATION + '{% extends "sign_in.html" %}'),
    "a catalogue that is no TOML": ("locales/fr.toml", "language"),
}


@pytest.mark.parametrize("fault", BROKEN)
async def test_what_could_only_be_shown_wrongly_stops_the_start(tmp_path: Path, fault: str) -> None:
    name, text = BROKEN[fault]
    path = tmp_path / "branding" / name
    path.parent.mkdir(parents=True)
    path.write_text(text, "utf-8")
    with pytest.raises(SettingsError, match="template_directory"):
        async with open_server(tmp_path, template_directory=str(tmp_path / "branding")):
            pass


@pytest.mark.parametrize("option", ["breach_list", "place_database"])
async def test_a_file_that_cannot_be_read_stops_the_start(tmp_path: Path, option: str) -> None:
    (tmp_path / "text").write_text("this is neither of the two", "utf-8")
    for path in (tmp_path / "nothing", tmp_path / "text"):
        with pytest.raises(SettingsError, match=option):
            async with open_server(tmp_path, **{option: str(path)}):
                pass


UINT16, UINT32, UINT64 = 5, 6, 9


def packed(value: Any) -> bytes:
    """Return a value in the MaxMind DB format."""
    if isinstance(value, dict):
        body = b"".join(packed(key) + packed(item) for key, item in value.items())
        return bytes([7 << 5 | len(value)]) + body
    if isinstance(value, str):
        raw = value.encode()
        return bytes([2 << 5 | len(raw)]) + raw
    if isinstance(value, list):
        return bytes([len(value), 4]) + b"".join(map(packed, value))
    kind, number = value
    raw = int(number).to_bytes(8, "big").lstrip(b"\0")
    return bytes([len(raw), kind - 7] if kind > 7 else [kind << 5 | len(raw)]) + raw


def places(path: Path) -> Path:
    """Write a database in which 192.0.0.0/8 is Bergen and nothing else is anywhere."""
    bits = [192 >> shift & 1 for shift in range(7, -1, -1)]
    count = len(bits)
    tree = b""
    for number, bit in enumerate(bits):
        further = count + 16 if number == count - 1 else number + 1
        pair = (count, further) if bit else (further, count)
        tree += struct.pack(">I", pair[0])[1:] + struct.pack(">I", pair[1])[1:]
    entry = {
        "city": {"names": {"en": "Bergen", "de": "Bergen"}},
        "country": {"names": {"en": "Norway", "de": "Norwegen"}},
    }
    metadata = {
        "node_count": (UINT32, count), "record_size": (UINT16, 24), "ip_version": (UINT16, 4), "database_type": "Test",
        "languages": ["en"], "binary_format_major_version": (UINT16, 2), "binary_format_minor_version": (UINT16, 0),
        "build_epoch": (UINT64, 1), "description": {"en": "x"},
    }  # fmt: skip
    path.write_bytes(tree + bytes(16) + packed(entry) + b"\xab\xcd\xefMaxMind.com" + packed(metadata))
    return path


async def test_a_place_is_shown_where_the_operator_keeps_a_database_of_them(tmp_path: Path) -> None:
    path = places(tmp_path / "places.mmdb")
    options = {"mode": "development", "place_database": str(path), "trusted_proxies": ("127.0.0.1/32",)}
    async with open_server(tmp_path, **options) as server:
        await make(server)
        person = await open_page(server, "/sign-in", **{"x-forwarded-for": "198.51.100.7"})
        await person.send({"identifier": "ada", "password": PASSWORD})
        await sign_out(person)
        person = await open_page(server, "/sign-in", **{"x-forwarded-for": "192.0.2.1"})
        await person.send({"identifier": "ada", "password": PASSWORD})
        await person.open("/account/sessions")
        assert "Bergen, Norway" in person.text
        assert any("From: Bergen, Norway, 192.0.2.1" in text for _, text in await letters(server))
        person.http.headers["accept-language"] = "de"
        await person.open("/account/sessions")
        assert "Bergen, Norwegen" in person.text
        nowhere = await open_page(server, "/sign-in", **{"x-forwarded-for": "2001:db8::1"})
        await nowhere.send({"identifier": "ada", "password": PASSWORD})
        assert (await nowhere.open("/account/sessions")).status_code == 200


async def test_in_development_the_error_page_names_what_to_change(tmp_path: Path) -> None:
    for mode in ("development", "production"):
        async with open_server(tmp_path, mode=mode) as server:
            client = await register(server, name=f"Ledger {mode}")
            wrong = REDIRECT.replace("https://", "http://") + "/"
            parameters = request(client, redirect_uri=wrong)
            person = await open_page(server, f"/authorize?{urlencode(parameters)}")
            assert person.page is not None
            assert person.page.status_code == 400
            told = f"watchword client update {client.client.client_id}" in person.text
            assert told is (mode == "development")
            if told:
                assert "scheme" in person.text
                assert f"Send exactly {REDIRECT}" in person.text
            unknown = await open_page(server, "/authorize?client_id=nobody")
            assert ("watchword client create" in unknown.text) is told


async def test_whoever_is_asked_to_choose_goes_on_or_signs_in_as_somebody_else(tmp_path: Path) -> None:
    async with open_server(tmp_path, mode="development") as server:
        await make(server)
        await make(server, "grace", "grace@example.com")
        client = await register(server)
        person = Person(server, another(server))
        await person.sign_in()
        await person.open(f"/authorize?{urlencode(request(client, prompt='select_account'))}")
        assert person.path == "/select-account"
        assert "ada" in person.text
        here = person.page
        shown = person.form(having="return")
        account = here.text.split('name="account" value="')[1].split('"')[0] if here else ""
        await person.send({"account": account}, having="return")
        assert client.client.name in person.text, "on to the consent"
        await person.http.get("/select-account")
        forged = await person.http.post(
            "/select-account", data={"csrf": shown["csrf"], "return": shown["return"], "account": "user_x"}
        )
        assert "/sign-in" in forged.headers["location"]
        await person.open(f"/sign-in?return={shown['return']}")
        await person.send({"identifier": "grace", "password": PASSWORD})
        assert "grace" in person.text


async def test_in_development_a_browser_at_another_name_of_the_machine_is_sent_to_the_issuers(
    tmp_path: Path,
) -> None:
    async with open_server(tmp_path, mode="development", issuer="http://localhost:8000") as server:
        for host in ("127.0.0.1:8000", "[::1]:8000"):
            answer = await server.http.get("/sign-in?notice=registered", headers={"host": host})
            assert answer.headers["location"] == "http://localhost:8000/sign-in?notice=registered"
        for host in ("localhost:8000", "evil.example:8000", "127.0.0.1:9000"):
            assert (await server.http.get("/sign-in", headers={"host": host})).status_code == 200
    async with open_server(tmp_path, issuer="http://localhost:8000") as server:
        assert (await server.http.get("/sign-in", headers={"host": "127.0.0.1:8000"})).status_code == 200


MAIL_AT_HOSTS = {
    "localhost:8000": 200,
    "LOCALHOST:8000": 200,
    "127.0.0.1:9000": 200,
    "[::1]": 200,
    "evil.example:8000": 404,
    "localhost.evil.example:8000": 404,
    "192.0.2.1:8000": 404,
    "[::1": 400,
}


async def test_in_development_mail_is_shown_to_no_site_whose_name_came_to_mean_this_machine(
    tmp_path: Path,
) -> None:
    """DNS rebinding: to a browser such a site and this server are one origin."""
    async with open_server(tmp_path, mode="development", issuer="http://localhost:8000") as server:
        for host, expected in MAIL_AT_HOSTS.items():
            answer = await server.http.get("/dev/mail", headers={"host": host})
            assert answer.status_code == expected, host


async def test_a_wrong_password_is_said_beside_its_field(tmp_path: Path) -> None:
    async with open_server(tmp_path) as server:
        await make(server)
        person = Person(server, another(server))
        page = await person.sign_in(password="wrong wrong wrong wrong")
        field = page.text.split('id="password"')[1].split(">")[0]
        assert 'aria-invalid="true"' in field
        assert "autofocus" in field
        assert "That name and password don’t match." in person.text


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("service_name", "", "^service_name must have 1 to 80"),
        ("accent_colour", "#0D6B5E", "^accent_colour is written .* in lower case"),
        ("accent_colour_dark", "teal", "^accent_colour_dark is written"),
        ("logo", "logo.jpeg", "^logo is a file whose name ends"),
        ("logo_dark", "nothing.svg", "^logo_dark: cannot read nothing.svg: No such file"),
        ("terms_url", "terms", "^terms_url is an http"),
        ("template_directory", "nothing", "^template_directory: there is no folder nothing"),
        ("template_directory", __file__, "^template_directory: there is no folder"),
        *(
            (
                "upstream",
                (Upstream(name="hub", title="Hub", client_id="us", issuer=issuer),),
                "^upstream 'hub': issuer: an issuer is an https address",
            )
            for issuer in ("http://hub.example", "http://localhost:9", "hub.example", "https://[::1", "")
        ),
    ],
)
def test_the_refusal_of_a_start_names_the_option(option: str, value: object, words: str) -> None:
    check_files(Settings())
    with pytest.raises(SettingsError, match=words):
        check_files(Settings(**{option: value}))
