"""Whether a node takes something for good, asked by one kind of request alone, and how it is ended on another."""

import dataclasses
from collections.abc import Awaitable, Callable

import msgspec
from tests.fixtures.accounts import another
from tests.fixtures.code_flow import answer_of, decide, redeem, request, sign_in
from tests.fixtures.people import PASSWORD
from tests.fixtures.servers import Server

from watchword.flows.clients import client_metadata, client_registry
from watchword.flows.clients.client_registry import Registered
from watchword.flows.users import accounts

BY = "test"
RESOURCE = "https://orders.example.com"
Is = Callable[[], Awaitable[bool]]


@dataclasses.dataclass(frozen=True, slots=True)
class Case:
    """Whether a node takes something for good, asked by one kind of request alone, and what ends it on the other."""

    is_good: Is
    end: Callable[[], Awaitable[object]]


def answered(server: Server, path: str, token: str = "", **parameters: str) -> Is:
    """Return whether a page or an API answers, to a bearer where a token is given."""
    headers = {"authorization": f"Bearer {token}"} if token else {}

    async def is_answered() -> bool:
        return (await server.http.get(path, params=parameters, headers=headers)).status_code == 200

    return is_answered


def granted(server: Server, client: Registered, **form: str) -> Is:
    """Return whether a client is issued a token."""

    async def is_granted() -> bool:
        return (await server.grant(client, **form)).status_code == 200

    return is_granted


def active(server: Server, client: Registered, token: str) -> Is:
    """Return whether introspection says that a token is active."""

    async def is_active() -> bool:
        answer = await server.post("/introspect", client, token=token)
        return answer.status_code == 200 and answer.json()["active"] is True

    return is_active


async def change(
    server: Server, client: Registered, *, disabled: bool | None = None, **given: object
) -> None:
    """Change a client as an administrator does."""
    wanted = msgspec.structs.replace(client_metadata.to_input(client.client), **given)
    name = client.client.client_id
    await client_registry.change(
        server.runtime, name, wanted, expected_version=None, disabled=disabled, actor=BY
    )


async def signed_in(server: Server, name: str, **more: bool) -> Server:
    """Return a server as somebody's browser sees it who has just signed in."""
    await accounts.create(server.runtime, username=name, password=PASSWORD, actor=BY, **more)
    home = dataclasses.replace(server, http=another(server))
    assert (await sign_in(home, await home.http.get("/account"), name)).status_code == 303
    return home


def seen_from(home: Server, server: Server) -> Server:
    """Return another node as the same browser sees it."""
    browser = another(server)
    browser.cookies.update(home.http.cookies)
    return dataclasses.replace(server, http=browser)


async def bought(home: Server, client: Registered) -> dict[str, str]:
    """Return what a person's consent buys a client."""
    code = answer_of(await decide(home, await home.http.get("/authorize", params=request(client))))["code"]
    tokens: dict[str, str] = (await redeem(home, client, code)).json()
    return tokens
