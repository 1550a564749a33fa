"""LG: guessing and spraying are slowed by person, source and deployment, and lock nobody out."""

from pathlib import Path

import httpx
import pytest
from tests.attacks.guesses import WRONG, at, guess, server
from tests.fixtures.accounts import EMAIL, OTHER, add_passkey, make, options_in, user_of
from tests.fixtures.people import PASSWORD, Person, letters, link_in
from tests.fixtures.servers import Server, open_server

from watchword.credentials import password as passwords
from watchword.flows import hashing, sign_in
from watchword.flows.throttle import Throttled
from watchword.oauth.errors import OAuthError

__all__ = ["server"]


async def known(server: Server) -> Person:
    """Return the person at a browser that she was signed in with before."""
    person = at(server, "192.0.2.1")
    await person.sign_in()
    assert person.path == "/account"
    await person.open("/sign-out")
    await person.send({"decision": "sign_out"})
    return person


async def test_lg_01_one_account_is_guessed_at_from_a_hundred_addresses(server: Server) -> None:
    assert await guess(at(server, "192.0.2.1"), password=PASSWORD) == 200, "the honest variant"
    answers = [await guess(at(server, f"198.51.100.{n}")) for n in range(30)]
    assert answers.count(401) <= 10, "ten guesses, whoever makes them"
    assert answers[-1] == 429
    late = await at(server, "198.51.100.31").sign_in("ada", WRONG)
    assert late.headers["retry-after"] == "60", "in seconds what the page says in minutes"


async def test_lg_01_one_password_is_sprayed_over_many_names(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    cheap(monkeypatch)
    sprayer = at(server, "198.51.100.7")
    await sprayer.open("/sign-in")
    form = sprayer.form()
    answers = []
    for n in range(60):
        filled = {**form, "identifier": f"person{n}", "password": WRONG}
        answers.append((await sprayer.http.post(filled.pop(""), data=filled)).status_code)
    assert answers.count(401) <= 51
    assert answers[-1] == 429
    assert await guess(at(server, "192.0.2.1"), password=PASSWORD) == 200, "others are not held up by it"


def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a wrong password cost nothing, where many are tried and their cost is not the matter."""
    real = passwords.verify_password
    monkeypatch.setattr(
        passwords, "verify_password", lambda stored, given: given != WRONG and real(stored, given)
    )


async def test_lg_01_a_network_of_ipv6_is_one_source(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    cheap(monkeypatch)
    answers = []
    for n in range(60):
        person = at(server, f"2001:db8:1:2::{n:x}")
        answers.append(await guess(person, f"person{n}"))
    assert answers[-1] == 429
    assert await guess(at(server, "2001:db8:1:3::1"), password=PASSWORD) == 200


async def test_lg_01_while_the_whole_deployment_is_under_attack_a_source_has_five_attempts(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    cheap(monkeypatch)
    for network in range(7):
        for n in range(50):
            await guess(at(server, f"198.51.{network}.1"), f"person{network}x{n}")
    stranger = at(server, "192.0.2.99")
    answers = [await guess(stranger, f"stranger{n}") for n in range(7)]
    assert answers == [401] * 5 + [429] * 2
    crowd = [await guess(at(server, "192.0.2.1"), password=PASSWORD) for _ in range(7)]
    assert crowd == [200] * 7, (
        "nobody is kept out who knows her password, however many are behind one address"
    )


async def test_lg_02_under_attack_the_owner_signs_in_from_a_browser_she_was_known_with(
    server: Server,
) -> None:
    owner = await known(server)
    while await guess(at(server, "198.51.100.7")) != 429:
        pass
    assert await guess(at(server, "192.0.2.50"), password=PASSWORD) == 429, (
        "from elsewhere the account is held"
    )
    await owner.sign_in()
    assert owner.path == "/account"


async def test_lg_02_who_is_held_off_gets_back_in_by_the_mailed_link(server: Server) -> None:
    while await guess(at(server, "198.51.100.7")) != 429:
        pass
    person = at(server, "192.0.2.50")
    await person.open("/recover")
    await person.send({"identifier": EMAIL})
    link = next(link_in(text) for to, text in await letters(server) if to == EMAIL)
    await person.open(link)
    await person.send({"new_password": OTHER, "end_others": "yes"})
    await person.sign_in(password=OTHER)
    assert person.path == "/account"


async def test_lg_03_a_crowd_behind_one_address_signs_in_by_passkeys(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    cheap(monkeypatch)
    device = await add_passkey(at(server, "192.0.2.1"))
    for _ in range(55):
        person = at(server, "192.0.2.1")
        await person.open("/sign-in")
        answer = device.get(options_in(person), origin="http://localhost")
        assert (await person.send({"credential": answer}, having="challenge")).status_code == 200
        assert person.path == "/account"
    answers = [await guess(at(server, "192.0.2.1"), f"person{n}") for n in range(52)]
    assert answers[-1] == 429, "whoever guesses there is slowed as ever"


async def test_lg_03_ones_own_success_clears_nobody_elses_counter(server: Server) -> None:
    await make(server, "eve", "eve@example.com")
    answers = []
    for _ in range(12):
        answers.append(await guess(at(server, "198.51.100.7")))
        await guess(at(server, "198.51.100.7"), "eve", PASSWORD)
    assert answers.count(401) <= 10
    assert answers[-1] == 429


async def test_lg_04_every_spelling_of_a_name_has_the_same_counter(server: Server) -> None:
    spellings = ("ada", "ADA", "Ada", " ada ", "ａｄａ", EMAIL, EMAIL.upper())
    answers = [await guess(at(server, f"198.51.100.{n}"), spellings[n % 7]) for n in range(14)]
    assert answers == [401] * 10 + [429] * 4


async def test_lg_05_two_nodes_count_together(server: Server, tmp_path: Path) -> None:
    async with open_server(
        tmp_path, database=server.settings.database, key_file=server.settings.key_file, mode="development"
    ) as second:
        answers = [await guess(at((server, second)[n % 2], "198.51.100.7")) for n in range(12)]
    assert answers.count(401) == 10
    assert answers[-1] == 429


async def test_lg_03_who_confirms_with_the_right_password_is_not_slowed(server: Server) -> None:
    user = await user_of(server)
    for _ in range(12):
        assert await sign_in.confirm_password(server.runtime, user, PASSWORD)
    for _ in range(10):
        assert not await sign_in.confirm_password(server.runtime, user, WRONG)
    with pytest.raises(Throttled):
        await sign_in.confirm_password(server.runtime, user, PASSWORD)


async def test_lg_03_an_attempt_that_nobody_had_time_to_check_takes_nothing(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = await user_of(server)
    with monkeypatch.context() as patch:
        patch.setattr(hashing, "MAX_WAITING", 0)
        for _ in range(12):
            assert await guess(at(server, "192.0.2.1"), "ada", PASSWORD) == 503
            with pytest.raises(OAuthError, match="temporarily_unavailable"):
                await sign_in.confirm_password(server.runtime, user, PASSWORD)
    assert await guess(at(server, "192.0.2.1"), "ada", PASSWORD) == 200
    assert await sign_in.confirm_password(server.runtime, user, PASSWORD)


@pytest.mark.parametrize("way", ["password", "step-up"])
async def test_lg_06_a_password_is_guessed_no_faster_inside_a_session(server: Server, way: str) -> None:
    person = at(server, "192.0.2.1")
    await person.sign_in()
    server.clock.advance(700)
    answers = []
    for _ in range(13):
        if way == "password":
            await person.open("/account/password")
            answer = await person.send({"password": WRONG, "new_password": OTHER})
        else:
            await person.open("/account/passkeys")
            answer = await person.send({"password": WRONG}, having="method")
        answers.append(answer.status_code)
    assert answers[-1] == 429
    assert len([status for status in answers if status != 429]) == 10
    server.clock.advance(120)
    await person.open("/account/passkeys")
    await person.send({"password": PASSWORD}, having="method")
    assert person.path == "/account/passkeys", "it slows and locks nobody out"


async def test_lg_06_basic_credentials_of_a_person_open_nothing(server: Server) -> None:
    basic = httpx.BasicAuth("ada", PASSWORD)
    for path in ("/api/v1/tokens/self", "/userinfo", "/account"):
        answer = await server.http.get(path, auth=basic)
        assert answer.status_code in (401, 303), path
    form = {"grant_type": "password", "username": "ada", "password": PASSWORD}
    assert (await server.http.post("/token", data=form)).json()["error"] == "invalid_client"
    client = await server.client()
    refused = await server.post("/token", client, **form)
    assert refused.json()["error"] == "unsupported_grant_type"
