"""The console's signing keys as administrators use them: what is published, a rotation with overlap, a key that leaked."""

from collections.abc import Mapping
from pathlib import Path

import httpx
import pytest
from tests.fixtures.accounts import another, user_of
from tests.fixtures.console import admin, server
from tests.fixtures.people import Person
from tests.fixtures.servers import Server, open_server, together

from watchword.flows.keyring import JWKS_MAX_AGE
from watchword.store import keys
from watchword.store.audit import events

__all__ = ["admin", "server"]
PAGE = "/console/keys"


async def kids(server: Server, state: str = "current") -> list[str]:
    """Return which keys of the first algorithm, which signs access tokens, are in a state."""
    first = server.settings.signing_algorithms[0]
    found = await server.runtime.keyring.states()
    return [key.kid for key, known in found if known == state and key.algorithm == first]


async def signed(server: Server) -> str:
    """Return an access token that the current key signed."""
    registered = await server.client(grant_types=["client_credentials"])
    answer = await server.grant(registered, scope="orders:read")
    return str(answer.json()["access_token"])


async def is_active(server: Server, token: str) -> bool:
    asking = await server.client(scope="introspect", grant_types=["client_credentials"])
    answer = await server.post("/introspect", asking, token=token)
    return bool(answer.json()["active"])


async def named(server: Server, name: str) -> list[str]:
    """Return by whom things of a name were done."""
    found = await server.runtime.database.read(events.list_events, limit=20, name=name)
    return [event.actor for event in found]


async def test_every_published_key_is_shown_with_its_state(admin: Person) -> None:
    await admin.open(PAGE)
    for kid in (*await kids(admin.server), *await kids(admin.server, "next")):
        assert kid in admin.text
    assert "Signs after the next rotation" in admin.text
    assert "Is replaced automatically" in admin.text
    assert "stays valid until it expires" in admin.text


async def test_a_rotation_lets_the_next_key_take_over_and_leaves_what_was_signed_valid(admin: Person) -> None:
    server = admin.server
    token, (old,), (following,) = await signed(server), await kids(server), await kids(server, "next")
    server.clock.advance(400)
    await admin.open(PAGE)
    await admin.send({}, having="algorithm")
    assert "The next key takes over" in admin.text
    assert await kids(server) == [following]
    assert await kids(server, "retiring") == [old]
    assert await is_active(server, token)
    assert (await named(server, "key.rotated"))[0] == (await user_of(server)).id


async def test_a_key_takes_over_and_the_one_before_goes_in_the_second_that_was_announced(
    server: Server,
) -> None:
    keyring, algorithm = server.runtime.keyring, server.settings.signing_algorithms[0]
    before, (following,) = await keyring.signing_key(algorithm), await kids(server, "next")
    assert await keyring.rotate(algorithm, actor="test")
    found = {key.kid: key for key, _ in await keyring.states()}
    takes_over, goes = found[following].activates_at, found[before.kid or ""].retires_at
    assert takes_over is not None
    assert goes is not None
    for moment, signs in ((takes_over - 1, before.kid), (takes_over, following)):
        server.clock.now = moment
        assert (await keyring.signing_key(algorithm)).kid == signs
    for moment, published in ((goes - 1, True), (goes, False)):
        server.clock.now = moment
        await keyring.reload()
        assert keyring.is_known(before.kid or "") is published
        former = [key.kid for key in await keyring.former_keys()]
        assert (before.kid in former) is not published


async def test_a_key_that_takes_over_later_says_when(admin: Person) -> None:
    await admin.open(PAGE)
    await admin.send({}, having="algorithm")
    assert "Takes over soon" in admin.text


async def test_kr_02_a_second_click_or_another_administrator_does_not_rotate_once_more(admin: Person) -> None:
    server = admin.server
    await admin.open(PAGE)
    form = admin.form(having="algorithm")
    form.pop("")

    async def click(browser: httpx.AsyncClient) -> httpx.Response:
        return await browser.post(PAGE, data=form, follow_redirects=False)

    async with another(server) as second:
        second.cookies = admin.http.cookies
        answers = await together(click(admin.http), click(second))
    assert sorted(answer.status_code for answer in answers) == [303, 409]
    late = next(answer for answer in answers if answer.status_code == 409)
    assert "just rotated this key" in late.text
    assert len(await named(server, "key.rotated")) == 1


async def test_kr_02_who_saw_another_key_waiting_does_not_rotate(server: Server) -> None:
    keyring, algorithm = server.runtime.keyring, server.settings.signing_algorithms[0]
    (seen,) = await kids(server, "next")
    assert await keyring.rotate(algorithm, actor="test", expected=seen), "the honest variant"
    before = await keyring.states()
    assert not await keyring.rotate(algorithm, actor="test", expected=seen)
    assert await keyring.states() == before


async def test_an_algorithm_that_this_service_does_not_sign_with_is_refused(admin: Person) -> None:
    await admin.open(PAGE)
    answer = await admin.send({"algorithm": "HS256"}, having="algorithm")
    assert answer.status_code == 400
    assert not await named(admin.server, "key.rotated")


async def test_kr_03_a_key_that_leaked_is_withdrawn_with_all_that_it_signed(admin: Person) -> None:
    server = admin.server
    token, (leaked,), (following,) = await signed(server), await kids(server), await kids(server, "next")
    assert await is_active(server, token)
    await admin.open(f"{PAGE}/{leaked}")
    answer = await admin.send({"beginning": leaked[:6]}, having="beginning")
    assert admin.path == PAGE
    assert answer.status_code == 200
    assert "The key is revoked" in admin.text
    assert leaked not in admin.text
    assert await kids(server) == [following]
    assert not await is_active(server, token)
    assert await is_active(server, await signed(server))
    assert (await named(server, "key.revoked"))[0] == (await user_of(server)).id
    assert (await admin.open(f"{PAGE}/{leaked}")).status_code == 200
    assert "That was deleted already." in admin.text


@pytest.mark.parametrize("announced", [False, True], ids=["that waits", "that takes over soon"])
async def test_kr_03_a_key_that_leaked_before_it_signed_never_signs_and_another_waits(
    admin: Person, announced: bool
) -> None:
    server, algorithm = admin.server, admin.server.settings.signing_algorithms[0]
    keyring = server.runtime.keyring
    token, (signing,), (leaked,) = await signed(server), await kids(server), await kids(server, "next")
    if announced:
        assert await keyring.rotate(algorithm, actor="test")
        assert await kids(server) == [signing], "it takes over only when everybody knows it"
    promoted = len(await named(server, "key.rotated"))
    assert await keyring.revoke(leaked, actor="test")
    assert await kids(server) == [signing]
    assert leaked not in await kids(server, "next")
    assert await is_active(server, token)
    assert await is_active(server, await signed(server))
    assert len(await named(server, "key.rotated")) == promoted + announced, "nobody was told that it signs"
    server.clock.advance(server.settings.signing_key_overlap + 600)
    assert await is_active(server, await signed(server)), (
        "nor does the end of the overlap leave none that signs"
    )
    assert len(await kids(server)) == len(await kids(server, "next")) == 1


async def test_kr_03_a_key_that_takes_over_soon_does_so_at_once_when_the_one_that_signs_leaked(
    admin: Person,
) -> None:
    server, algorithm = admin.server, admin.server.settings.signing_algorithms[0]
    token, (leaked,), (announced,) = await signed(server), await kids(server), await kids(server, "next")
    assert await server.runtime.keyring.rotate(algorithm, actor="test")
    assert await kids(server) == [leaked]
    (waiting,) = set(await kids(server, "next")) - {announced}
    assert await server.runtime.keyring.revoke(leaked, actor="test")
    assert (await kids(server), await kids(server, "next")) == ([announced], [waiting])
    assert not await is_active(server, token)
    for _ in range(2):  # before and after it was to take over
        server.clock.advance(JWKS_MAX_AGE)
        assert await server.runtime.keyring.rotate_due() == [], "it signs as long as any other"
        assert await kids(server) == [announced]
        assert await is_active(server, await signed(server))


async def test_a_key_that_ends_with_none_to_follow_is_replaced_before_it_ends(admin: Person) -> None:
    server, algorithm = admin.server, admin.server.settings.signing_algorithms[0]
    keyring, database, now = server.runtime.keyring, server.runtime.database, int(server.clock())
    server.clock.advance(JWKS_MAX_AGE)
    assert await keyring.rotate_due() == [], "without a need none is replaced"
    # What withdrawing a key that waited left behind before it was one step.
    (waiting,) = await kids(server, "next")
    assert await keyring.rotate(algorithm, actor="test")
    assert await kids(server) == [waiting]
    assert await database.write(keys.revoke_key, waiting, actor="test", now=now)
    server.clock.advance(JWKS_MAX_AGE)
    assert await keyring.rotate_due() == [algorithm]
    assert await keyring.rotate_due() == []
    server.clock.advance(server.settings.signing_key_overlap + 600)
    assert await is_active(server, await signed(server))


async def test_a_slip_withdraws_no_key(admin: Person) -> None:
    (current,) = await kids(admin.server)
    slips: Mapping[str, str] = {"nothing": "", "too little": current[:5], "another key": "x" + current[:8]}
    for typed in slips.values():
        await admin.open(f"{PAGE}/{current}")
        answer = await admin.send({"beginning": typed}, having="beginning")
        assert answer.status_code == 400
        assert "isn’t the beginning" in admin.text
    assert await kids(admin.server) == [current]


@pytest.mark.parametrize("announced", [False, True], ids=["rotated", "rotated and its successor withdrawn"])
async def test_kr_01_a_token_of_the_longest_life_outlives_its_key_whatever_the_overlap(
    tmp_path: Path, announced: bool
) -> None:
    async with open_server(tmp_path, signing_key_overlap=60) as server:
        algorithm = server.settings.signing_algorithms[0]
        (following,) = await kids(server, "next")
        lasting = await server.client(grant_types=["client_credentials"], access_token_lifetime=86_400)
        assert await server.runtime.keyring.rotate(algorithm, actor="test")
        if announced:
            assert await server.runtime.keyring.revoke(following, actor="test")
        server.clock.advance(JWKS_MAX_AGE - 1)  # the last second in which the old key signs
        token = (await server.grant(lasting, scope="orders:read")).json()["access_token"]
        server.clock.advance(86_399)
        await server.runtime.database.write(keys.purge_keys, int(server.clock()))
        assert await is_active(server, token)
        server.clock.advance(1)
        assert not await is_active(server, token)
