"""CK-02: what one node began another finishes, though its clock is behind; and nobody finishes it after its time."""

from collections.abc import Awaitable, Callable

import httpx
import pytest
from tests.fixtures.accounts import add_passkey, add_totp, another, options_in, sign_out
from tests.fixtures.applications import BYE, application
from tests.fixtures.lying_provider import Provider, begin, come_back, provider, server
from tests.fixtures.people import Person
from tests.fixtures.servers import Server

from watchword.flows import factors
from watchword.store import users

__all__ = ["provider", "server"]

# Moves the clock between the two halves of something.
Wait = Callable[[], None]


async def by_passkey(server: Server, provider: Provider, wait: Wait) -> bool:
    device = await add_passkey(Person(server, another(server)))
    person = Person(server, another(server))
    await person.open("/sign-in")
    answer = device.get(options_in(person), origin="http://localhost")
    wait()
    await person.send({"credential": answer}, having="challenge")
    return person.path == "/account"


async def by_provider(server: Server, provider: Provider, wait: Wait) -> bool:
    person = Person(server, another(server))
    answer = await begin(person, provider)
    wait()
    return await come_back(person, answer) == "/upstream/link"


async def by_question(server: Server, provider: Provider, wait: Wait) -> bool:
    person = Person(server, another(server))
    assert await come_back(person, await begin(person, provider)) == "/upstream/link"
    wait()
    return (await person.open("/upstream/link")).status_code == 200


async def by_second_factor(server: Server, provider: Provider, wait: Wait) -> bool:
    person = Person(server, another(server))
    await person.sign_in()
    await add_totp(person)
    await sign_out(person)
    await person.sign_in()
    wait()
    await person.open("/sign-in/second-factor")
    return person.path == "/sign-in/second-factor"


async def by_authenticator(server: Server, provider: Provider, wait: Wait) -> bool:
    user = await server.runtime.database.read(users.find_user, "ada")
    assert user is not None
    key, sealed = factors.begin_totp(server.runtime, user)
    wait()
    return factors.open_totp(server.runtime, user, sealed) == key


async def by_sign_out(server: Server, provider: Provider, wait: Wait) -> bool:
    client = await application(server)
    person = Person(server, another(server))
    await person.sign_in()
    asked = {"client_id": client.client.client_id, "post_logout_redirect_uri": BYE}
    await person.open(str(httpx.URL("/logout", params=asked)))
    wait()
    gone = await person.send({"decision": "sign_out"})
    return gone.headers.get("location") == BYE


HALVES: tuple[tuple[Callable[[Server, Provider, Wait], Awaitable[bool]], int], ...] = (
    (by_passkey, 300),
    (by_provider, 600),
    (by_question, 600),
    (by_second_factor, 600),
    (by_authenticator, 900),
    (by_sign_out, 600),
)


@pytest.mark.parametrize(
    ("finishes", "moved", "good"),
    [
        pytest.param(finishes, moved, good, id=f"{finishes.__name__} {moved} s later")
        for finishes, lifetime in HALVES
        for moved, good in ((-61, False), (-60, True), (lifetime - 1, True), (lifetime, False))
    ],
)
async def test_ck_02_what_one_node_began_another_finishes_in_its_time(
    server: Server,
    provider: Provider,
    finishes: Callable[[Server, Provider, Wait], Awaitable[bool]],
    moved: int,
    good: bool,
) -> None:
    assert await finishes(server, provider, lambda: server.clock.advance(moved)) is good
