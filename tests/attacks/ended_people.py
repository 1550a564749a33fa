"""What ends for people on one node, and how another is asked about it."""

import dataclasses
from collections.abc import Awaitable, Callable
from urllib.parse import parse_qs, urlsplit

from tests.attacks.pairs import Pair
from tests.attacks.taken import (
    BY,
    Case,
    Is,
    answered,
    bought,
    seen_from,
    signed_in,
)
from tests.fixtures.accounts import another, user_of
from tests.fixtures.code_flow import answer_of, refresh, register, request, sign_in
from tests.fixtures.people import PASSWORD
from tests.fixtures.servers import Server

from watchword.flows.clients import client_registry
from watchword.flows.mail import Origin
from watchword.flows.users import account_access, account_changes, accounts, people, recovery
from watchword.flows.users.people import Changes
from watchword.store import factors, profile_changes, user_changes


async def an_api_token_of_a_disabled_account(pair: Pair) -> Case:
    a, b = pair
    user = await accounts.create(a.runtime, username="owner", password=PASSWORD, actor=BY)
    made = await a.token(owner="owner")
    return Case(
        answered(b, "/api/v1/tokens/self", made.secret),
        lambda: account_changes.set_disabled(a.runtime, user, True, actor=BY),
    )


async def an_api_token_of_who_administered(pair: Pair) -> Case:
    a, b = pair
    user = await accounts.create(a.runtime, username="ruler", is_admin=True, actor=BY)
    await accounts.create(a.runtime, username="other-ruler", is_admin=True, actor=BY)
    made = await a.token(scope="watchword:admin", owner="ruler")
    return Case(
        answered(b, "/api/v1/users", made.secret),
        lambda: people.change(a.runtime, user, Changes(is_admin=False), actor=BY),
    )


async def an_api_token_of_a_changed_password(pair: Pair) -> Case:
    a, b = pair
    user = await accounts.create(a.runtime, username="maker", password=PASSWORD, actor=BY)
    made = await a.token(owner="maker")
    link = await recovery.hand_over_link(a.runtime, user, 600, actor=BY)
    secret = parse_qs(urlsplit(link).query)["link"][0]
    return Case(
        answered(b, "/api/v1/tokens/self", made.secret),
        lambda: recovery.reset(
            a.runtime, user, secret, "another long password of hers", end_all=True, origin=Origin("", BY)
        ),
    )


async def a_session(pair: Pair) -> Case:
    a, b = pair
    home = await signed_in(a, "visitor")
    user = await user_of(a, "visitor")
    return Case(
        answered(seen_from(home, b), "/account"), lambda: people.end_sessions(a.runtime, user, actor=BY)
    )


async def a_session_in_which_a_grant_is_refreshed(pair: Pair) -> Case:
    a, b = pair
    home, client = await signed_in(a, "refresher"), await register(a)
    user, newest = await user_of(a, "refresher"), [(await bought(home, client))["refresh_token"]]

    async def is_refreshed() -> bool:
        answer = await refresh(b, client, newest[-1])
        newest.append(answer.json().get("refresh_token", newest[-1]))
        return answer.status_code == 200

    return Case(is_refreshed, lambda: people.end_sessions(a.runtime, user, actor=BY))


def grant_for_userinfo(name: str, token_format: str, end: str) -> Callable[[Pair], Awaitable[Case]]:
    async def make(pair: Pair) -> Case:
        a, b = pair
        home, client = await signed_in(a, name), await register(a, access_token_format=token_format)
        token, user = (await bought(home, client))["access_token"], await user_of(a, name)
        ends: dict[str, Callable[[], Awaitable[object]]] = {
            "withdrawn": lambda: account_access.withdraw(a.runtime, user.id, client.client.client_id),
            "account disabled": lambda: account_changes.set_disabled(a.runtime, user, True, actor=BY),
            "account deleted": lambda: account_changes.delete(a.runtime, user, actor=BY),
            "client deleted": lambda: client_registry.delete(a.runtime, client.client.client_id, actor=BY),
        }
        return Case(answered(b, "/userinfo", token), ends[end])

    return make


async def a_consent(pair: Pair) -> Case:
    a, b = pair
    home, client = await signed_in(a, "consenter"), await register(a)
    await bought(home, client)
    user, there = await user_of(a, "consenter"), seen_from(home, b)

    async def is_given_a_code() -> bool:
        answer = await there.http.get("/authorize", params=request(client, prompt="none"))
        return "code" in answer_of(answer)

    name = client.client.client_id
    return Case(is_given_a_code, lambda: account_access.withdraw(a.runtime, user.id, name))


def opens_account(server: Server, name: str) -> Is:
    """Return whether the password alone opens an account."""

    async def is_opened() -> bool:
        home = dataclasses.replace(server, http=another(server))
        answer = await sign_in(home, await home.http.get("/account"), name)
        return answer.status_code == 303 and "second-factor" not in answer.headers["location"]

    return is_opened


async def a_password(pair: Pair) -> Case:
    a, b = pair
    user = await accounts.create(a.runtime, username="changer", password=PASSWORD, actor=BY)
    more = {"but": None, "actor": BY, "now": a.runtime.now()}
    return Case(
        opens_account(b, "changer"),
        lambda: a.runtime.database.write(user_changes.change_password, user.id, "none", **more),
    )


async def a_password_that_was_enough(pair: Pair) -> Case:
    a, b = pair
    user = await accounts.create(a.runtime, username="careful", password=PASSWORD, actor=BY)
    more = {"step": 0, "actor": BY, "now": a.runtime.now()}
    return Case(
        opens_account(b, "careful"),
        lambda: a.runtime.database.write(factors.add_totp, user.id, b"sealed", **more),
    )


async def an_administrator(pair: Pair) -> Case:
    a, b = pair
    await accounts.create(a.runtime, username="root", password=PASSWORD, is_admin=True, actor=BY)
    home = await signed_in(a, "helper", is_admin=True)
    user = await user_of(a, "helper")
    more = {"display_name": None, "attributes": {}, "is_admin": False, "actor": BY, "now": a.runtime.now()}
    return Case(
        answered(seen_from(home, b), "/console"),
        lambda: a.runtime.database.write(profile_changes.update_profile, user.id, **more),
    )
