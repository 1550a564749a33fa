"""PS: lying authenticators, browsers and origins; a passkey proves one person, to one server, once."""

import base64
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import cbor2
import pytest
import pytest_asyncio
from tests.fixtures.accounts import (
    add_passkey,
    another,
    counted_sign_ins,
    make,
    options_in,
    session_of,
    user_of,
)
from tests.fixtures.people import PASSWORD, Person
from tests.fixtures.postgres import Store
from tests.fixtures.rows import in_turn
from tests.fixtures.servers import Server, open_server, together
from tests.unit.credentials.software_authenticator import USER_PRESENT, SoftwareAuthenticator

from watchword.credentials.passkey import PasskeyRefused
from watchword.flows import passkeys as flow
from watchword.flows.users import account_changes, people
from watchword.jose.jwk import b64encode
from watchword.store import passkeys

ORIGIN = "http://localhost"


@pytest_asyncio.fixture
async def server(store: Store, tmp_path: Path) -> AsyncIterator[Server]:
    """The application with two people in it."""
    async with open_server(tmp_path, on=store.address, mode="development") as opened:
        await make(opened)
        await make(opened, "eve", "eve@example.com")
        yield opened


async def stranger(server: Server) -> Person:
    """Return somebody at the sign-in page of another browser."""
    person = Person(server, another(server))
    await person.open("/sign-in")
    return person


async def send(person: Person, credential: str, **more: str) -> str:
    """Send an answer to the sign-in page's challenge; return where that leads."""
    await person.send({"credential": credential, **more}, having="challenge")
    return person.path


LIES: dict[str, dict[str, Any]] = {
    "a relying party that is not us": {"rp_id": "evil.example"},
    "an origin that is not ours": {"origin": "https://evil.example"},
    "the type of a registration": {"kind": "webauthn.create"},
    "a challenge of its own": {"client_data": {"challenge": base64.urlsafe_b64encode(bytes(64)).decode()}},
    "nobody was there": {"flags": 0},
    "the device checked nobody, where no password is asked": {"flags": USER_PRESENT},
    "a frame of another site": {"client_data": {"crossOrigin": True, "topOrigin": "https://evil.example"}},
    "no signature": {"signature": b""},
}


@in_turn("lie", LIES)
async def test_ps_01_a_lying_answer_signs_nobody_in(ada: Person, lie: str) -> None:
    device = await add_passkey(ada)
    person = await stranger(ada.server)
    assert options_in(person)["userVerification"] == "required"
    said: dict[str, Any] = {"origin": ORIGIN} | LIES[lie]
    assert await send(person, device.get(options_in(person), **said)) == "/sign-in"
    assert not any("session" in name for name in person.http.cookies)
    assert await send(person, device.get(options_in(person), origin=ORIGIN)) == "/account", (
        "the honest variant"
    )


async def test_a_passkey_of_a_disabled_account_is_refused_in_words_of_its_own(ada: Person) -> None:
    device = await add_passkey(ada)
    user, runtime = await user_of(ada.server), ada.server.runtime
    for disabled in (False, True):
        await account_changes.set_disabled(runtime, user, disabled, actor="test")
        person = await stranger(ada.server)
        path = await send(person, device.get(options_in(person), origin=ORIGIN))
        assert path == ("/sign-in" if disabled else "/account")
        assert ("That passkey wasn’t accepted." in person.text) == disabled
        assert "That name and password don’t match." not in person.text, (
            "which a page without passwords cannot show"
        )


async def test_ps_01_a_challenge_lives_five_minutes_and_belongs_to_one_browser(ada: Person) -> None:
    device = await add_passkey(ada)
    late, other = await stranger(ada.server), await stranger(ada.server)
    answer = device.get(options_in(late), origin=ORIGIN)
    challenge = late.form(having="challenge")["challenge"]
    assert await send(other, answer, challenge=challenge) == "/sign-in", "another browser's challenge"
    ada.server.clock.advance(301)
    assert await send(late, answer) == "/sign-in", "too late"
    assert await send(late, device.get(options_in(late), origin=ORIGIN)) == "/account"


async def test_ps_01_of_two_uses_of_one_answer_one_counts(ada: Person) -> None:
    device = await add_passkey(ada)
    person = await stranger(ada.server)
    form = person.form(having="challenge")
    address = form.pop("")
    filled = {**form, "credential": device.get(options_in(person), origin=ORIGIN)}
    answers = await together(*(person.http.post(address, data=filled) for _ in range(8)))
    assert sorted(answer.status_code for answer in answers) == [303, *[401] * 7]


async def test_where_browsers_make_no_passkeys_none_are_asked_for_and_none_are_taken(
    store: Store, tmp_path: Path
) -> None:
    """A relying party has the name of a domain (WebAuthn §5.1.2); an address of the network is none."""
    nowhere = {"issuer": "http://127.0.0.1:8000", "mode": "development"}
    async with open_server(tmp_path, on=store.address, **nowhere) as opened:
        await make(opened)
        runtime, user = opened.runtime, await user_of(opened)
        assert await flow.request_options(runtime, "browser", "sign-in") is None
        assert await flow.creation_options(runtime, "browser", user) is None
        sent: dict[str, Any] = {"browser": "browser", "challenge": "", "credential": "{}"}
        with pytest.raises(PasskeyRefused, match="rp_id"):
            await flow.prove(runtime, purpose="sign-in", **sent)
        with pytest.raises(PasskeyRefused, match="rp_id"):
            flow.check_made(runtime, user.id, name="x", **sent)


async def register(person: Person, credential: str) -> bool:
    """Send a registration; return whether it was kept."""
    await person.send({"do": "add", "name": "x", "credential": credential}, having="challenge")
    return "Passkey added." in person.text


async def signed_in(server: Server, name: str = "eve") -> Person:
    """Return a person at the page of passkeys."""
    person = Person(server, another(server))
    await person.sign_in(name)
    await person.open("/account/passkeys")
    return person


async def test_ps_02_a_credential_that_somebody_has_is_nobody_elses(ada: Person) -> None:
    device = await add_passkey(ada)
    eve = await signed_in(ada.server)
    copied = SoftwareAuthenticator()
    copied.credential_id = device.credential_id
    assert not await register(eve, copied.create(options_in(eve), origin=ORIGIN))
    person = await stranger(ada.server)
    assert await send(person, device.get(options_in(person), origin=ORIGIN)) == "/account"
    own = SoftwareAuthenticator()
    await eve.open("/account/passkeys")
    assert await register(eve, own.create(options_in(eve), origin=ORIGIN)), "the honest variant"


async def test_a_passkey_more_than_an_account_may_have_is_refused_with_the_way_out(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passkeys, "MAX_PASSKEYS", 2)
    eve = await signed_in(server)
    await eve.open("/account/passkeys")
    assert not await register(
        eve, SoftwareAuthenticator().create(options_in(eve), origin="https://evil.example")
    )
    assert "Remove one that you no longer need first." not in eve.text, "that is not why"
    for number in range(passkeys.MAX_PASSKEYS + 1):
        await eve.open("/account/passkeys")
        device = SoftwareAuthenticator()
        kept = await register(eve, device.create(options_in(eve), origin=ORIGIN))
        assert kept is (number < passkeys.MAX_PASSKEYS)
    assert "Remove one that you no longer need first." in eve.text
    await eve.send({"do": "remove"}, having="passkey")
    assert await register(eve, device.create(options_in(eve), origin=ORIGIN))


def nested(depth: int) -> bytes:
    """Return CBOR arrays in one another."""
    return b"\x81" * depth + b"\x00"


GARBAGE: dict[str, dict[str, Any]] = {
    "an attestation that is no CBOR": {"attestation": b"\xff\xff\xff"},
    "CBOR nested ten thousand deep": {"attestation": nested(10_000)},
    "an object without end": {"attestation": b"\xbf" + b"\x61a\x00" * 1000},
    "a key nested deep": {"cose_key": nested(500)},
    "an attestation that nobody asked for, with a false signature": {
        "fmt": "packed",
        "att_stmt": {"alg": -7, "sig": b"x"},
    },
    "authenticator data cut short": {
        "attestation": cbor2.dumps({"fmt": "none", "attStmt": {}, "authData": b"x" * 20})
    },
}


@in_turn("garbage", GARBAGE)
async def test_ps_02_a_registration_made_of_garbage_is_refused(server: Server, garbage: str) -> None:
    eve = await signed_in(server)
    device = SoftwareAuthenticator()
    made = device.create(options_in(eve), origin=ORIGIN, **GARBAGE[garbage])
    await eve.send({"do": "add", "name": "x", "credential": made}, having="challenge")
    assert eve.page is not None
    assert eve.page.status_code == 400
    assert await register(eve, device.create(options_in(eve), origin=ORIGIN)), "the honest variant"


async def test_ps_02_ten_megabytes_are_not_read(server: Server) -> None:
    eve = await signed_in(server)
    form = eve.form(having="challenge")
    huge = json.dumps({"response": base64.b64encode(os.urandom(7_500_000)).decode()})
    answer = await eve.http.post(form.pop(""), data={**form, "do": "add", "credential": huge})
    assert answer.status_code in (400, 413)


async def test_ps_03_a_counter_that_goes_back_is_refused_and_recorded(ada: Person) -> None:
    device = await counting(ada)
    person = await stranger(ada.server)
    assert await send(person, device.get(options_in(person), origin=ORIGIN, sign_count=5)) == "/account"
    for count in (5, 4, 1):
        copy = await stranger(ada.server)
        assert await send(copy, device.get(options_in(copy), origin=ORIGIN, sign_count=count)) == "/sign-in"
    from watchword.store.audit import events

    found = await ada.server.runtime.database.read(
        events.list_events, limit=100, name="passkey.counter_regressed"
    )
    assert len(found) == 3
    person = await stranger(ada.server)
    assert await send(person, device.get(options_in(person), origin=ORIGIN, sign_count=6)) == "/account"


async def counting(person: Person) -> SoftwareAuthenticator:
    """Register an authenticator that counts."""
    await person.sign_in()
    await person.open("/account/passkeys")
    device = SoftwareAuthenticator(flags=0x05, sign_count=0)
    assert await register(person, device.create(options_in(person), origin=ORIGIN, sign_count=1))
    return device


async def test_ps_04_a_passkey_is_nobody_elses_whatever_the_form_says(ada: Person) -> None:
    device = await add_passkey(ada)
    person = await stranger(ada.server)
    answer = device.get(options_in(person), origin=ORIGIN)
    assert await send(person, answer, identifier="eve", password=PASSWORD) == "/account"
    assert (await session_of(ada.server)).amr, "it is ada who signed in"
    for handle in (b"somebody else", os.urandom(32)):
        liar = await stranger(ada.server)
        assert await send(liar, device.get(options_in(liar), origin=ORIGIN, user_handle=handle)) == "/sign-in"
    liar, unknown = await stranger(ada.server), SoftwareAuthenticator()
    copied = unknown.get(options_in(liar), origin=ORIGIN, user_handle=device.user_handle)
    assert await send(liar, copied) == "/sign-in", "a device that nobody registered, with her handle"
    assert liar.page is not None
    assert liar.page.status_code == 401


async def test_ps_04_another_persons_passkey_is_no_second_proof_of_mine(ada: Person) -> None:
    server = ada.server
    hers = await add_passkey(ada)
    eve = await signed_in(server)
    own = SoftwareAuthenticator()
    assert await register(eve, own.create(options_in(eve), origin=ORIGIN))
    await eve.open("/account/passkeys")
    known: Any = options_in(eve)["excludeCredentials"]
    assert [one["id"] for one in known] == [b64encode(own.credential_id)], "which is not made twice"
    server.clock.advance(700)
    for device, handle, path in (
        (hers, None, "/step-up"),
        (hers, b"", "/step-up"),
        (hers, own.user_handle, "/step-up"),
        (own, b"", "/account/passkeys"),  # as a security key answers, which keeps no handle
    ):
        await eve.open("/account/passkeys")
        assert eve.path == "/step-up"
        wanted: Any = options_in(eve)
        assert wanted["userVerification"] == "preferred", "her password was asked for before"
        assert [one["id"] for one in wanted["allowCredentials"]] == [b64encode(own.credential_id)], (
            "which a security key has to be told"
        )
        answer = device.get(options_in(eve), origin=ORIGIN, user_handle=handle)
        await eve.send({"method": "passkey", "credential": answer}, having="challenge")
        assert eve.path == path


@pytest.mark.parametrize(("name", "shown"), [("", "ada"), ("Ada L", "Ada L")])
async def test_a_device_is_told_the_name_that_a_person_goes_by(server: Server, name: str, shown: str) -> None:
    await people.change(
        server.runtime, await user_of(server), people.Changes(display_name=name), actor="test"
    )
    options = await flow.creation_options(server.runtime, "browser", await user_of(server))
    assert options is not None
    assert json.loads(options[0])["user"]["displayName"] == shown


async def test_ps_05_a_link_of_an_administrator_works_once_and_proves_no_second_factor(ada: Person) -> None:
    server = ada.server
    link = await people.reset_link(server.runtime, await user_of(server), actor="test")
    first, second = await stranger(server), await stranger(server)
    await first.open(link)
    await second.open(link)
    words = "some entirely new words here"
    await together(*(one.send({"new_password": words, "end_others": "yes"}) for one in (first, second)))
    outcomes = sorted("Your password is set" in one.text for one in (first, second))
    assert outcomes == [False, True]
    assert (await server.http.get(link)).status_code == 404
    assert not any("session" in name for one in (first, second) for name in one.http.cookies), (
        "it signs nobody in"
    )


@in_turn("alg", [-65535, -37, -7])
async def test_ps_06_an_algorithm_that_was_not_offered_is_refused(server: Server, alg: int) -> None:
    eve = await signed_in(server)
    device = SoftwareAuthenticator()
    offered = {entry["alg"] for entry in options_in(eve)["pubKeyCredParams"]}  # type: ignore[attr-defined]  # a list
    key = {**device.cose_key(), 3: alg}
    kept = await register(eve, device.create(options_in(eve), origin=ORIGIN, cose_key=key))
    assert kept is (alg in offered)


POINTS: dict[str, dict[int, object]] = {
    "a point that is not on the curve": {-2: b"\x01" * 32, -3: b"\x02" * 32},
    "a compressed point": {-3: True},
    "the point at infinity": {-2: bytes(32), -3: bytes(32)},
    "a curve of another algorithm": {-1: 2},
    "coordinates of the wrong length": {-2: b"\x01" * 31},
}


@in_turn("point", POINTS)
async def test_ps_06_a_key_that_is_none_is_refused(server: Server, point: str) -> None:
    eve = await signed_in(server)
    device = SoftwareAuthenticator()
    key = {**device.cose_key(), **POINTS[point]}
    assert not await register(eve, device.create(options_in(eve), origin=ORIGIN, cose_key=key))
    assert eve.page is not None
    assert eve.page.status_code == 400
    assert await register(eve, device.create(options_in(eve), origin=ORIGIN)), "the honest variant"


@in_turn(
    "origin",
    [
        "https://evil.localhost",
        "http://localhost:8080",
        "https://localhost",
        "http://localhost.evil.example",
        "null",
        "",
    ],
)
async def test_ps_07_only_our_own_origin_is_one(ada: Person, origin: str) -> None:
    device = await add_passkey(ada)
    person = await stranger(ada.server)
    assert await send(person, device.get(options_in(person), origin=origin)) == "/sign-in"
    eve = await signed_in(ada.server)
    fresh = SoftwareAuthenticator()
    assert not await register(eve, fresh.create(options_in(eve), origin=origin))
    assert await send(person, device.get(options_in(person), origin=ORIGIN)) == "/account"


async def test_a_removed_passkey_of_one_person_leaves_anothers(ada: Person) -> None:
    await add_passkey(ada)
    user = await user_of(ada.server)
    mine = (await ada.server.runtime.database.read(passkeys.list_passkeys, user.id))[0]
    eve = await signed_in(ada.server)
    form = {"csrf": eve.form()["csrf"], "do": "remove", "passkey": mine.id}
    await eve.http.post("/account/passkeys", data=form)
    rename = {"csrf": form["csrf"], "do": "rename", "passkey": mine.id, "name": "eve's"}
    await eve.http.post("/account/passkeys", data=rename)
    kept = await ada.server.runtime.database.read(passkeys.list_passkeys, user.id)
    assert [one.name for one in kept] == [mine.name]


async def test_refused_and_accepted_passkeys_are_counted(ada: Person) -> None:
    device = await add_passkey(ada)
    before = [await counted_sign_ins(ada.server, "passkey", one) for one in ("refused", "accepted")]
    person = await stranger(ada.server)
    await send(person, device.get(options_in(person), origin=ORIGIN, flags=0))
    await send(person, device.get(options_in(person), origin=ORIGIN))
    after = [await counted_sign_ins(ada.server, "passkey", one) for one in ("refused", "accepted")]
    assert after == [before[0] + 1, before[1] + 1]
