"""MN-01: whatever another node has changed, one that has answered for long answers as one that has just begun."""

import contextlib
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.attacks.pairs import lateness, open_pair
from tests.attacks.taken import BY, bought, change, signed_in
from tests.fixtures.accounts import user_of
from tests.fixtures.code_flow import register
from tests.fixtures.postgres import Store
from tests.fixtures.servers import Server, open_server

from watchword.flows import api_tokens
from watchword.flows.api_tokens import Issued
from watchword.flows.clients import client_registry
from watchword.flows.clients.client_registry import Registered
from watchword.flows.users import account_access, account_changes, people
from watchword.oauth.errors import OAuthError

STEPS, SEED = 25, 2
FORMATS = ("jwt", "opaque")
Answers = dict[str, object]


@dataclass(slots=True)
class World:
    """What was made so far by the node on which everything is changed."""

    node: Server
    dice: random.Random
    clients: list[Registered] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)
    api_tokens: list[Issued] = field(default_factory=list)
    people: list[tuple[str, Registered]] = field(default_factory=list)


async def make_client(world: World) -> None:
    token_format = world.dice.choice(FORMATS)
    world.clients.append(await world.node.client(access_token_format=token_format))


async def issue(world: World) -> None:
    answer = await world.node.grant(world.dice.choice(world.clients))
    world.tokens += [answer.json()["access_token"]] if answer.status_code == 200 else []


async def make_api_token(world: World) -> None:
    world.api_tokens.append(await world.node.token())


async def consent(world: World) -> None:
    name, token_format = f"person{len(world.people)}", world.dice.choice(FORMATS)
    home, client = (
        await signed_in(world.node, name),
        await register(world.node, access_token_format=token_format),
    )
    world.tokens.append((await bought(home, client))["access_token"])
    world.people.append((name, client))


async def edit_client(world: World) -> None:
    client, disabled = world.dice.choice(world.clients), world.dice.random() < 0.5
    scope = world.dice.choice(["orders:read", "orders:read orders:write"])
    await change(world.node, client, disabled=disabled, scope=scope)


async def delete_client(world: World) -> None:
    client = world.dice.choice(world.clients).client
    await client_registry.delete(world.node.runtime, client.client_id, actor=BY)


async def replace_secret(world: World) -> None:
    client = world.dice.choice(world.clients).client
    await client_registry.add_secret(
        world.node.runtime, client.client_id, overlap=world.dice.choice([0, 30]), actor=BY
    )


async def revoke(world: World) -> None:
    token = world.dice.choice(world.tokens)
    for client in (*world.clients, *(client for _, client in world.people)):
        await world.node.post("/revoke", client, token=token)


async def revoke_api_token(world: World) -> None:
    await api_tokens.revoke(world.node.runtime, world.dice.choice(world.api_tokens).token.id, actor=BY)


async def replace_api_token(world: World) -> None:
    token, overlap = world.dice.choice(world.api_tokens).token, world.dice.choice([0, 30])
    await api_tokens.rotate(world.node.runtime, token.id, overlap=overlap, actor=BY)


async def disable_account(world: World) -> None:
    user = await user_of(world.node, world.dice.choice(world.people)[0])
    await account_changes.set_disabled(world.node.runtime, user, world.dice.random() < 0.7, actor=BY)


async def end_sessions(world: World) -> None:
    user = await user_of(world.node, world.dice.choice(world.people)[0])
    await people.end_sessions(world.node.runtime, user, actor=BY)


async def withdraw(world: World) -> None:
    name, client = world.dice.choice(world.people)
    user = await user_of(world.node, name)
    await account_access.withdraw(world.node.runtime, user.id, client.client.client_id)


async def rotate_key(world: World) -> None:
    await world.node.runtime.keyring.rotate("ES256", actor=BY)


async def withdraw_key(world: World) -> None:
    kids = [key.kid for key, state in await world.node.runtime.keyring.states() if state != "next"]
    await world.node.runtime.keyring.revoke(world.dice.choice(kids), actor=BY)


async def wait(world: World) -> None:
    world.node.clock.advance(world.dice.choice([1, 20, 301]))


BEGINNING = (make_client, make_client, issue, issue, make_api_token, make_api_token, consent, consent)
CHANGES: tuple[Callable[[World], Awaitable[None]], ...] = (
    make_client, issue, issue, consent, edit_client, edit_client, delete_client, replace_secret, revoke,
    revoke_api_token, replace_api_token, disable_account, end_sessions, withdraw, rotate_key, withdraw_key, wait, wait,
)  # fmt: skip


async def answers(server: Server, world: World, api: Registered) -> Answers:
    """Return what a node says of everything that was made."""
    found: Answers = {}
    for number, token in enumerate(world.tokens):
        found[f"introspection of token {number}"] = (
            await server.post("/introspect", api, token=token)
        ).json()
        headers = {"authorization": f"Bearer {token}"}
        found[f"userinfo of token {number}"] = (
            await server.http.get("/userinfo", headers=headers)
        ).status_code
        found[f"the guard of token {number}"] = await in_process(server, token)
    for number, issued in enumerate(world.api_tokens):
        found[f"the guard of API token {number}"] = await in_process(server, issued.secret)
    for number, client in enumerate(world.clients):
        for scope in ("orders:read", "orders:write"):
            granted = (await server.grant(client, scope=scope)).status_code == 200
            found[f"{scope} to client {number}"] = granted
    found["published"] = (await server.http.get("/.well-known/jwks.json")).json()
    return found


async def in_process(server: Server, token: str) -> object:
    """Return what a guard in the node's process is told of a token."""
    resource = server.settings.resource
    return (await server.app.introspect(token, address=None, path=None, audience=resource))["active"]


async def test_mn_01_a_node_that_goes_on_answers_as_one_that_has_just_begun(
    store: Store, tmp_path: Path
) -> None:
    same = {"database": store.address, "key_file": str(tmp_path / "key"), "mode": "development"}
    async with open_pair(store.address, store.address, tmp_path) as (a, b):
        world = World(a, random.Random(SEED))
        api = await a.client(scope="introspect")
        for make in BEGINNING:
            await make(world)
        for _ in range(STEPS):
            step = world.dice.choice(CHANGES)
            with contextlib.suppress(OAuthError):  # of what is gone already
                await step(world)
            b.clock.now = a.clock.now
            said = [await answers(node, world, api) for node in (b, a)]
            async with open_server(tmp_path, **same) as fresh:
                fresh.clock.now = a.clock.now
                expected = await answers(fresh, world, api)
            if store.kind == "postgres" and said[0] != expected:  # until it has heard
                said[0] = await until_said(b, world, api, expected)
            for answer in said:
                differing = [name for name in expected if answer[name] != expected[name]]
                assert not differing, f"after {step.__name__}"


async def until_said(server: Server, world: World, api: Registered, expected: Answers) -> Answers:
    """Return what a node says when it says what is expected, or what it said last."""
    got: Answers = {}

    async def is_said() -> bool:
        nonlocal got
        got = await answers(server, world, api)
        return got == expected

    with contextlib.suppress(AssertionError):
        await lateness(is_said)
    return got
