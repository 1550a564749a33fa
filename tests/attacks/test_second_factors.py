"""MF: second factors are guessed, skipped, replayed and set up by others; what is issued by another way is not spared them."""

import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.attacks.factors import ada, elsewhere, server
from tests.fixtures.accounts import (
    OTHER,
    add_totp,
    another,
    code_of,
    counted_sign_ins,
    make,
    session_of,
    sign_out,
    user_of,
)
from tests.fixtures.code_flow import request as authorization
from tests.fixtures.people import PASSWORD, Person, letters
from tests.fixtures.servers import Server, open_server, together
from tests.unit.credentials.software_authenticator import SoftwareAuthenticator

from watchword.flows import factors, passkeys
from watchword.store import factors as factor_store
from watchword.store.audit import events

__all__ = ["ada", "server"]


async def test_mf_02_codes_are_counted_over_every_sign_in_under_way(ada: Person) -> None:
    server = ada.server
    key = await add_totp(ada)
    server.clock.advance(31)
    answers, held_up = [], await counted_sign_ins(server, "totp", "throttled")
    for _ in range(6):
        guesser = await elsewhere(server)
        tries = [await guesser.send({"code": "000000"}, having="method") for _ in range(3)]
        answers += [answer.status_code for answer in tries]
        server.clock.advance(61)
    assert answers.count(401) <= 11
    assert answers[-1] == 429
    trail = await server.runtime.database.read(events.list_events, limit=100, name="second_factor.refused")
    assert len(trail) == answers.count(401)
    assert await counted_sign_ins(server, "totp", "throttled") == held_up + answers.count(429)
    assert any("may know your password" in text for _, text in await letters(server)), "the owner is warned"
    await sign_out(ada)
    await ada.sign_in()
    await ada.send({"code": code_of(server, key)}, having="method")
    assert ada.path == "/account", "the owner's own browser is not held up by it"


async def test_mf_02_who_proves_it_often_is_not_slowed_and_clears_nobody_elses_counter(ada: Person) -> None:
    server = ada.server
    key, guesser = await add_totp(ada), await elsewhere(server)
    for _ in range(7):
        assert (await guesser.send({"code": "000000"}, having="method")).status_code == 401
    for _ in range(12):
        await sign_out(ada)
        server.clock.advance(31)
        await ada.sign_in()
        await ada.send({"code": code_of(server, key)}, having="method")
        assert ada.path == "/account"
    answers = [(await guesser.send({"code": "000000"}, having="method")).status_code for _ in range(5)]
    assert 3 <= answers.count(401) <= 4, "what was left, and what came back in six minutes"


async def test_mf_03_half_a_sign_in_is_none(ada: Person) -> None:
    server = ada.server
    key = await add_totp(ada)
    client = await server.client(
        redirect_uris=["https://app.example.com/cb"], grant_types=["authorization_code"], scope="openid"
    )
    server.clock.advance(31)
    half = await elsewhere(server)
    assert half.path == "/sign-in/second-factor"
    begun = await half.http.get("/authorize", params=authorization(client, scope="openid"))
    assert "code=" not in begun.headers["location"]
    for path in ("/account", "/account/tokens", "/device", "/authorize/resume?interaction=x"):
        answer = await half.http.get(path)
        assert "session" not in str(half.http.cookies)
        assert answer.status_code in (200, 303, 400)
        assert "ada" not in answer.text or answer.status_code == 303
    await half.open("/sign-in/second-factor")
    await half.send({"code": code_of(server, key)}, having="method")
    assert half.path == "/account", "the honest variant"


async def test_mf_04_no_other_way_spares_the_second_factor(ada: Person) -> None:
    server = ada.server
    await add_totp(ada)
    await sign_out(ada)
    ada.http.cookies.clear()
    await ada.open("/device?user_code=ABCD-EFGH")
    await ada.send({"identifier": "ada", "password": PASSWORD})
    assert ada.path == "/sign-in/second-factor"
    basic = httpx.BasicAuth("ada", PASSWORD)
    for path in ("/api/v1/tokens/self", "/api/v1/users", "/userinfo", "/introspect"):
        answer = await server.http.get(path, auth=basic)
        assert answer.status_code in (401, 405), path
    form = {"grant_type": "password", "username": "ada", "password": PASSWORD}
    refused = await server.post("/token", await server.client(), **form)
    assert refused.json()["error"] == "unsupported_grant_type"


async def test_mf_04_a_reset_password_does_not_spare_the_second_factor(ada: Person) -> None:
    from tests.fixtures.accounts import EMAIL
    from tests.fixtures.people import link_in

    await add_totp(ada)
    person = Person(ada.server, another(ada.server))
    await person.open("/recover")
    await person.send({"identifier": EMAIL})
    link = next(link_in(text) for to, text in await letters(ada.server) if "/reset-password" in text)
    await person.open(link)
    await person.send({"new_password": OTHER, "end_others": "yes"})
    await person.sign_in(password=OTHER)
    assert person.path == "/sign-in/second-factor"


async def recovery_codes(person: Person) -> list[str]:
    """Make recovery codes and return them."""
    await person.open("/account/second_factors")
    await person.send({"do": "new_recovery_codes"}, having="do", index=-1)
    assert person.page is not None
    return re.findall(r"<li><code>([0-9a-z-]{29})</code></li>", person.page.text)


async def use_code(server: Server, code: str) -> str:
    """Sign in elsewhere with a recovery code; return where that leads."""
    person = await elsewhere(server)
    await person.open("/sign-in/second-factor?method=recovery_code")
    await person.send({"code": code}, having="method")
    return person.path


async def test_mf_05_a_recovery_code_works_once_and_never_after_new_ones(ada: Person) -> None:
    server = ada.server
    await add_totp(ada)
    old = await recovery_codes(ada)
    assert await use_code(server, old[0]) == "/account"
    assert await use_code(server, old[0]) == "/sign-in/second-factor"
    new = await recovery_codes(ada)
    assert await use_code(server, old[1]) == "/sign-in/second-factor", "the old set is dead"
    assert await use_code(server, new[0]) == "/account"
    await ada.open("/account/second_factors")
    assert ada.page is not None
    assert not any(code in ada.page.text for code in new), "never shown again"


async def test_mf_05_the_owner_is_told_of_a_recovery_code_wherever_it_is_used(ada: Person) -> None:
    server = ada.server
    await add_totp(ada)
    codes = await recovery_codes(ada)
    assert await use_code(server, codes[0]) == "/account"
    server.clock.advance(700)
    await ada.open("/account/email")
    assert ada.path == "/step-up"
    await ada.open(f"{ada.page and ada.page.url}&method=recovery_code")
    await ada.send({"code": codes[1]}, having="method")
    assert ada.path == "/account/email"
    told = [text for _, text in await letters(server) if "A recovery code was used" in text]
    assert len(told) == 2, "at the sign-in and at the further proof"


async def test_mf_05_recovery_codes_are_kept_as_digests(ada: Person) -> None:
    await add_totp(ada)
    codes = await recovery_codes(ada)

    async def kept(tx: object) -> list[bytes]:
        rows = await tx.all("SELECT digest FROM recovery_codes")  # type: ignore[attr-defined]  # a transaction
        return [bytes(row["digest"]) for row in rows]

    digests = await ada.server.runtime.database.read(kept)
    assert len(digests) == len(codes) == 10
    assert all(len(digest) == 32 for digest in digests)
    assert not any(code.replace("-", "").encode() in digest for code in codes for digest in digests)


async def test_mf_03_an_application_that_is_removed_while_its_code_is_sent_proves_nothing(
    ada: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = ada.server
    key, user = await add_totp(ada), await user_of(server)
    server.clock.advance(31)
    half = await elsewhere(server)
    admit = factors.admit

    async def removed_just_now(*given: Any) -> Any:
        removing = {"actor": "test", "now": server.runtime.now()}
        await server.runtime.database.write(factor_store.remove_totp, user.id, **removing)
        return await admit(*given)

    monkeypatch.setattr(factors, "admit", removed_just_now)
    refused = await half.send({"code": code_of(server, key)}, having="method")
    assert (refused.status_code, half.path) == (200, "/sign-in"), "to be begun anew"
    monkeypatch.undo()
    key = await add_totp(ada)
    server.clock.advance(31)
    again = await elsewhere(server)
    await again.send({"code": code_of(server, key)}, having="method")
    assert again.path == "/account", "the honest variant"


async def test_mf_08_a_key_is_set_up_by_whose_page_showed_it_only(ada: Person) -> None:
    server = ada.server
    await make(server, "eve", "eve@example.com")
    eve = Person(server, another(server))
    await eve.sign_in("eve")
    await eve.open("/account/second_factors/totp")
    hers = eve.form(having="key")["key"]
    await ada.open("/account/second_factors/totp")
    shown = ada.form(having="key")["key"]
    key = factors.open_totp(server.runtime, await user_of(server, "eve"), hers)
    assert key is not None
    await ada.send({"key": hers, "code": code_of(server, key)}, having="key")
    have = await server.runtime.database.read(factor_store.enrolled, (await user_of(server)).id)
    assert not have.totp, "another person's key"
    own = factors.open_totp(server.runtime, await user_of(server), shown)
    assert own is not None
    server.clock.advance(1000)
    assert factors.open_totp(server.runtime, await user_of(server), shown) is None, "an old page"


async def test_mf_08_a_wrong_code_sets_up_no_application(ada: Person) -> None:
    server = ada.server
    await ada.open("/account/second_factors/totp")
    key = factors.open_totp(server.runtime, await user_of(server), ada.form(having="key")["key"])
    assert key is not None
    right = code_of(server, key)
    wrong = f"{(int(right) + 1) % 1_000_000:06}"
    for code in (wrong, code_of(server, bytes(20)), "", "x" * 6):
        assert (await ada.send({"code": code}, having="key")).status_code == 400
        have = await server.runtime.database.read(factor_store.enrolled, (await user_of(server)).id)
        assert not have.totp, "nobody is locked out by a key that their application does not hold"
    await ada.send({"code": right}, having="key")
    assert "Your authenticator app is set up." in ada.text, "the honest variant"


async def test_mf_08_of_two_set_ups_at_once_one_counts(ada: Person) -> None:
    server = ada.server
    forms = []
    for _ in range(2):
        await ada.open("/account/second_factors/totp")
        forms.append(ada.form(having="key"))
    user = await user_of(server)
    calls = []
    for form in forms:
        key = factors.open_totp(server.runtime, user, form["key"])
        assert key is not None
        address = form.pop("")
        calls.append(ada.http.post(address, data={**form, "code": code_of(server, key)}))
    answers = await together(*calls)
    kept = [answer for answer in answers if "totp_added" in answer.headers.get("location", "")]
    assert len(kept) == 1
    assert all(answer.status_code in (303, 400) for answer in answers)


async def test_mf_08_a_key_reaches_no_address_and_no_log(
    ada: Person, capfd: pytest.CaptureFixture[str]
) -> None:
    server = ada.server
    page = await ada.open("/account/second_factors/totp")
    sealed = ada.form(having="key")["key"]
    key = factors.open_totp(server.runtime, await user_of(server), sealed)
    assert key is not None
    import base64

    text = base64.b32encode(key).decode().rstrip("=")
    assert text in page.text.replace(" ", ""), "it is shown on the page"
    await ada.send({"code": code_of(server, key)}, having="key")
    assert text not in str(ada.page.url if ada.page else "")
    written = capfd.readouterr()
    assert text not in written.out + written.err


@pytest.mark.parametrize("factor", ["totp", "recovery_code", "email_code"])
async def test_mf_08_what_no_sign_in_would_ask_for_is_not_set_up(tmp_path: Path, factor: str) -> None:
    enlisted = {}
    for counted in (factor, "passkey"):
        (folder := tmp_path / counted).mkdir()
        async with open_server(folder, mode="development", second_factors=(counted,)) as server:
            user = await make(server)
            ada = Person(server, another(server))
            await ada.sign_in()
            key, sealed = factors.begin_totp(server.runtime, user)
            carried = {"csrf": ada.form()["csrf"], "key": sealed, "code": code_of(server, key)}
            await ada.open("/account/second_factors")
            page, what = {
                "totp": ("/account/second_factors/totp", ""),
                "recovery_code": ("/account/second_factors", "new_recovery_codes"),
                "email_code": ("/account/second_factors", "email_code_on"),
            }[factor]
            offered = (page if factor == "totp" else what) in ada.page.text if ada.page else False
            await ada.http.post(page, data={**carried, "do": what})
            have = await server.runtime.database.read(factor_store.enrolled, user.id)
            is_set = {
                "totp": have.totp,
                "recovery_code": have.recovery_codes > 0,
                "email_code": have.email_code,
            }
            enlisted[counted] = (offered, is_set[factor], (await session_of(server)).amr)
    amr = ("pwd", "otp", "mfa") if factor == "totp" else ("pwd",)
    assert enlisted == {factor: (True, True, amr), "passkey": (False, False, ("pwd",))}


@pytest.mark.parametrize("counted", ["passkey", "totp"])
async def test_mf_08_a_passkey_that_signs_nobody_in_is_not_set_up(tmp_path: Path, counted: str) -> None:
    given = {"mode": "development", "sign_in_methods": ("password",), "second_factors": (counted,)}
    async with open_server(tmp_path, **given) as server:
        user = await make(server)
        ada = Person(server, another(server))
        await ada.sign_in()
        csrf, value = ada.form()["csrf"], ada.http.cookies["ww-browser"]
        asked = await passkeys.creation_options(server.runtime, value, user)
        assert asked is not None
        made = SoftwareAuthenticator().create(json.loads(asked[0]), origin="http://localhost")
        form = {"csrf": csrf, "do": "add", "name": "x", "challenge": asked[1], "credential": made}
        await ada.http.post("/account/passkeys", data=form)
        have = await server.runtime.database.read(factor_store.enrolled, user.id)
        pages = [(await ada.http.get(f"/account/{page}")).text for page in ("second_factors", "passkeys")]
        shown = ["Manage passkeys" in pages[0], "Add a passkey" in pages[1]]
        assert (have.passkeys, shown) == ((1, [True, True]) if counted == "passkey" else (0, [False, False]))
