"""SE, LG: finding out who has an account, flooding the sign-in, forging it; the honest person still gets in."""

import asyncio
import re
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.attacks.guesses import WRONG, at, guess, server
from tests.fixtures.accounts import EMAIL, make, user_of
from tests.fixtures.people import PASSWORD, Person, letters
from tests.fixtures.rows import in_turn
from tests.fixtures.servers import Server, open_server, together

from watchword.credentials import password as passwords
from watchword.flows import hashing
from watchword.store import users as user_store
from watchword.store.audit import events

__all__ = ["server"]


def parts(answer: httpx.Response, name: str) -> tuple[int, list[str], str]:
    """Return what of an answer could tell two names apart."""
    masked = re.sub(r'(csrf|challenge)" value="[^"]+"|data-options="[^"]+"', "", answer.text)
    return answer.status_code, sorted(answer.headers), masked.replace(name, "NAME")


async def test_se_05_a_wrong_password_tells_nothing_of_the_name(server: Server) -> None:
    assert await guess(at(server, "192.0.2.1"), password=PASSWORD) == 200
    seen = []
    for name in ("ada", "nobody", "ghost-1", EMAIL, "nobody@example.com"):
        person = at(server, "192.0.2.9")
        seen.append(parts(await person.sign_in(name, WRONG), name))
    assert all(one == seen[0] for one in seen)


@pytest.mark.usefixtures("production_cost")
async def test_lg_07_known_and_unknown_names_cost_the_same_work(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    work: dict[str, list[str]] = {}
    real_run, real_write = hashing.run, type(server.runtime.database).write
    current: list[str] = []

    async def run(function, *args, **kwargs):  # type: ignore[no-untyped-def]  # as hashing.run
        current.append(function.__name__)
        return await real_run(function, *args, **kwargs)

    async def write(self, operation, *args, **kwargs):  # type: ignore[no-untyped-def]  # as Database.write
        current.append(operation.__name__)
        return await real_write(self, operation, *args, **kwargs)

    monkeypatch.setattr(hashing, "run", run)
    monkeypatch.setattr(type(server.runtime.database), "write", write)
    for name in ("ada", "nobody"):
        current.clear()
        await guess(at(server, "192.0.2.9"), name)
        work[name] = list(current)
    assert work["ada"] == work["nobody"], "one hash and the same writes"
    assert "verify_password" in work["ada"]


@pytest.mark.parametrize("page", ["recover", "sign-up"])
async def test_lg_07_a_link_that_is_asked_for_tells_nothing_of_the_address(server: Server, page: str) -> None:
    seen = []
    for address in (EMAIL, "nobody@example.com"):
        person = at(server, "192.0.2.9")
        await person.open(f"/{page}")
        field = "identifier" if page == "recover" else "email"
        seen.append(parts(await person.send({field: address}), address))
    assert seen[0] == seen[1]
    sent = dict(await letters(server))
    assert set(sent) == {EMAIL, "nobody@example.com"}, "each owner is told by mail, sent after the answer"


async def test_lg_08_nothing_else_tells_who_has_an_account(server: Server) -> None:
    for path in ("/.well-known/webfinger?resource=acct:ada@localhost", "/users/ada", "/api/v1/users/ada"):
        for name in ("ada", "nobody"):
            answer = await server.http.get(path.replace("ada", name))
            assert answer.status_code in (401, 404), path
    await server.http.get("/sign-in")
    pages = [await server.http.get(f"/sign-in?login_hint={name}") for name in ("ada", "nobody")]
    assert parts(pages[0], "ada") == parts(pages[1], "nobody")
    made = await make(server, "grace", "grace@example.com")
    assert re.fullmatch(r"user_[0-9a-f]{32}", made.id), "an identifier counts nothing"


@pytest.mark.usefixtures("production_cost")
async def test_lg_09_a_flood_of_sign_ins_is_answered_in_part_and_others_are_served(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hashing, "MAX_WAITING", 8)
    people = [at(server, f"198.51.{n}.1") for n in range(40)]
    for person in people:
        await person.open("/sign-in")

    async def attempt(person: Person) -> httpx.Response:
        form = person.form()
        return await person.http.post(
            form.pop(""), data={**form, "identifier": f"{id(person)}", "password": WRONG}
        )

    async def meanwhile() -> list[int]:
        found = []
        for _ in range(5):
            found.append((await server.http.get("/.well-known/jwks.json")).status_code)
            await asyncio.sleep(0)
        return found

    *answers, others = await together(*(attempt(person) for person in people), meanwhile())
    assert others == [200] * 5
    refused = [answer for answer in answers if answer.status_code == 503]
    assert refused, "who comes too many is told to come back"
    assert all("retry-after" in answer.headers for answer in refused)
    assert {answer.status_code for answer in answers} == {401, 503}
    await people[0].sign_in()
    assert people[0].path == "/account", "once it is over"


@pytest.mark.usefixtures("production_cost")
async def test_lg_10_a_hash_that_asks_for_absurd_work_is_never_computed(server: Server) -> None:
    user = await user_of(server)
    absurd = passwords.DUMMY_HASH.replace("m=19456,t=2", "m=4194304,t=1000000000"[:22])
    assert absurd != passwords.DUMMY_HASH
    await server.runtime.database.write(
        user_store.set_password, user.id, absurd, actor="test", now=server.runtime.now()
    )
    begun = time.monotonic()
    assert await guess(at(server, "192.0.2.1"), password=PASSWORD) == 401
    assert time.monotonic() - begun < 10


@pytest.mark.usefixtures("production_cost")
async def test_lg_11_an_older_hash_is_renewed_once_by_the_sign_in(server: Server) -> None:
    from argon2 import PasswordHasher

    user = await user_of(server)
    old = PasswordHasher(time_cost=1, memory_cost=8192, parallelism=1).hash(PASSWORD)
    await server.runtime.database.write(
        user_store.set_password, user.id, old, actor="test", now=server.runtime.now()
    )
    assert await guess(at(server, "192.0.2.1"), password=PASSWORD) == 200
    renewed = await server.runtime.database.read(user_store.find_password, user.id)
    assert renewed is not None
    assert renewed != old
    assert not passwords.needs_rehash(renewed)
    assert await guess(at(server, "192.0.2.1"), password=PASSWORD) == 200
    assert await server.runtime.database.read(user_store.find_password, user.id) == renewed


@in_turn(
    "address",
    [
        "//evil.example",
        "/\\evil.example",
        "https:evil.example",
        "https://id@evil.example",
        "javascript:alert(1)",
        "/account",
    ],
)
async def test_se_12_nobody_is_sent_to_another_server_after_signing_in(server: Server, address: str) -> None:
    for parameter in ("return", "next", "return_to", "redirect_uri"):
        person = at(server, "192.0.2.1")
        await person.open(httpx.URL("/sign-in", params={parameter: address}).raw_path.decode())
        answer = await person.send({"identifier": "ada", "password": PASSWORD, parameter: address})
        assert answer.status_code == 200
        assert str(answer.url).startswith(f"{server.settings.issuer}/account")


async def test_se_13_credentials_in_an_address_sign_nobody_in(server: Server) -> None:
    person = at(server, "192.0.2.1")
    await person.open(f"/sign-in?identifier=ada&password={PASSWORD.replace(' ', '+')}")
    assert not any("session" in name for name in person.http.cookies)
    assert person.page is not None
    assert PASSWORD not in person.page.text
    assert '<form method="post"' in person.page.text
    assert re.search(r'name="password" type="password"', person.page.text)
    await person.send({"identifier": "ada", "password": PASSWORD})
    assert person.path == "/account", "by the form it works"


async def test_a_password_that_is_right_signs_nobody_in_where_passwords_are_not_taken(tmp_path: Path) -> None:
    for methods, status in ((("password", "passkey"), 303), (("passkey",), 401)):
        folder = tmp_path / str(status)
        folder.mkdir()
        async with open_server(folder, sign_in_methods=methods) as server:
            await make(server)
            person = Person(server, server.http)
            await person.open("/sign-in")
            form = {"csrf": person.form()["csrf"], "identifier": "ada", "password": PASSWORD}
            assert (await server.http.post("/sign-in", data=form)).status_code == status
            assert (await server.http.get("/account")).status_code == (200 if status == 303 else 303)


async def test_se_10_a_form_that_another_site_made_is_refused(server: Server) -> None:
    person = at(server, "192.0.2.1")
    await person.open("/sign-in")
    form = person.form()
    address = form.pop("")
    filled = {**form, "identifier": "ada", "password": PASSWORD}
    for headers in (
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ):
        assert (await person.http.post(address, data=filled, headers=headers)).status_code == 400
    for lie in ({"csrf": ""}, {"csrf": "0" * 64}):
        assert (await person.http.post(address, data=filled | lie)).status_code == 400
    honest = {"origin": server.settings.issuer, "sec-fetch-site": "same-origin"}
    assert (await person.http.post(address, data=filled, headers=honest)).status_code == 303


async def test_ht_03_pages_are_kept_apart_from_other_sites(server: Server) -> None:
    page = await server.http.get("/sign-in")
    assert page.headers["cross-origin-opener-policy"] == "same-origin"
    assert page.headers["cross-origin-resource-policy"] == "same-origin"
    assert "frame-ancestors 'none'" in page.headers["content-security-policy"]


@pytest.mark.parametrize("path", ["/token", "/sign-in", "/introspect"])
async def test_ht_01_what_travelled_in_the_clear_is_refused_where_https_is_served(
    tmp_path: Path, path: str
) -> None:
    options = {"issuer": "https://id.example.com", "trusted_proxies": ("127.0.0.1/32",)}
    async with open_server(tmp_path, **options) as secure:
        client = await secure.client()
        form = {"grant_type": "client_credentials", "token": "x"}
        auth = httpx.BasicAuth(client.client.client_id, client.client_secret or "")
        address = f"http://id.example.com{path}"
        plain = await secure.http.post(address, data=form, auth=auth, headers={"x-forwarded-proto": "http"})
        assert plain.status_code == 400
        assert "location" not in plain.headers, (
            "no silent way on to https, after the secret was shown to everybody"
        )
        in_body = await secure.http.post(address, data=form, headers={"x-forwarded-proto": "http"})
        assert (in_body.status_code, "travelled in the clear" in in_body.text) == (400, True)
        honest = await secure.http.post(
            "/token", data=form, auth=auth, headers={"x-forwarded-proto": "https"}
        )
        assert honest.status_code == 200


@pytest.mark.parametrize(
    ("options", "told", "taken"),
    [
        ({"trusted_proxies": ("127.0.0.1/32",)}, None, True),
        ({"trusted_proxies": ("127.0.0.1/32",)}, "HTTPS", True),
        ({"trusted_proxies": ("127.0.0.1/32",)}, "http, https", True),
        ({"trusted_proxies": ("127.0.0.1/32",)}, "https, http", False),
        ({"trusted_proxies": ("127.0.0.1/32",)}, "http", False),
        ({"trusted_proxies": ("10.0.0.1/32",)}, "https", False),
        ({"behind_tls_proxy": True}, None, True),
        ({"behind_tls_proxy": True}, "http", False),
        ({}, "https", False),
    ],
)
async def test_ht_01_a_credential_in_the_clear_is_known_by_the_nearest_proxy_alone(
    tmp_path: Path, options: dict[str, Any], told: str | None, taken: bool
) -> None:
    async with open_server(tmp_path, issuer="https://id.example.com", **options) as secure:
        told_by = {"x-forwarded-proto": told} if told is not None else {}
        answer = await secure.http.get(
            "http://id.example.com/userinfo", headers={"authorization": "Bearer x", **told_by}
        )
        assert (answer.status_code, answer.json()["error"]) == (
            (401, "invalid_token") if taken else (400, "invalid_request")
        )


async def test_a_refused_password_is_in_the_audit_trail_of_the_account(server: Server) -> None:
    await guess(at(server, "198.51.100.7"))
    found = await server.runtime.database.read(events.list_events, limit=100)
    names = [(event.name, event.target) for event in found]
    assert ("sign_in.refused", (await user_of(server)).id) in names
