"""Signing keys that are withdrawn on one node, and what is signed by them on another."""

from collections.abc import Awaitable, Callable

from tests.attacks.pairs import Pair
from tests.attacks.taken import BY, Case, Is, active, answered, bought, signed_in
from tests.fixtures.code_flow import register
from tests.fixtures.servers import Server
from tests.flows.test_status_lists import claims_of, status_of

from watchword.jose import jws
from watchword.oauth import ended, status_list


def kid_of(token: str) -> str:
    return str(jws.peek(token).kid)


def withdraw(server: Server, kid: str) -> Callable[[], Awaitable[object]]:
    return lambda: server.runtime.keyring.revoke(kid, actor=BY)


async def a_key_at_introspection(pair: Pair) -> Case:
    a, b = pair
    client = await a.client(scope="introspect")
    token = (await a.grant(client)).json()["access_token"]
    return Case(active(b, client, token), withdraw(a, kid_of(token)))


async def a_key_at_a_guard_in_the_process(pair: Pair) -> Case:
    a, b = pair
    token = (await a.grant(await a.client())).json()["access_token"]

    async def is_active() -> bool:
        asked = {"address": None, "path": None, "audience": b.settings.resource}
        return (await b.app.introspect(token, **asked))["active"] is True

    return Case(is_active, withdraw(a, kid_of(token)))


async def a_key_at_userinfo(pair: Pair) -> Case:
    a, b = pair
    home, client = await signed_in(a, "signed"), await register(a)
    token = (await bought(home, client))["access_token"]
    return Case(answered(b, "/userinfo", token), withdraw(a, kid_of(token)))


async def a_key_that_is_published(pair: Pair) -> Case:
    a, b = pair
    kid = kid_of((await a.grant(await a.client())).json()["access_token"])

    async def is_published() -> bool:
        published = (await b.http.get("/.well-known/jwks.json")).json()["keys"]
        return kid in [key["kid"] for key in published]

    return Case(is_published, withdraw(a, kid))


def signs(server: Server, path: str, kid: str) -> Is:
    """Return whether what a path answers is signed by a key."""

    async def is_signed_by_it() -> bool:
        return kid_of((await server.http.get(path, headers={"accept": "application/jwt"})).text) == kid

    return is_signed_by_it


async def a_key_that_signs_the_revocation_feed(pair: Pair) -> Case:
    a, b = pair
    kid = kid_of((await a.grant(await a.client())).json()["access_token"])
    return Case(signs(b, "/revocations", kid), withdraw(a, kid))


async def a_key_that_signs_status_lists(pair: Pair) -> Case:
    a, b = pair
    token = (await a.grant(await a.client(access_token_status=True))).json()["access_token"]
    uri = str(claims_of(token)["status"]["status_list"]["uri"])
    path, kid = uri.removeprefix(a.settings.issuer), kid_of(token)

    async def is_signed_by_it() -> bool:
        return kid_of((await b.http.get(path)).text) == kid

    return Case(is_signed_by_it, withdraw(a, kid))


async def a_place_in_a_status_list(pair: Pair) -> Case:
    a, b = pair
    client = await a.client(access_token_status=True)
    token = (await a.grant(client)).json()["access_token"]

    async def is_valid() -> bool:
        return await status_of(b, token) == status_list.VALID

    return Case(is_valid, lambda: a.post("/revoke", client, token=token))


async def what_the_revocation_feed_has_not_told(pair: Pair) -> Case:
    a, b = pair
    client = await a.client()
    token = (await a.grant(client)).json()["access_token"]
    mark = ended.mark("token", str(claims_of(token)["jti"]))

    async def is_not_told() -> bool:
        told = claims_of((await b.http.get("/revocations", headers={"accept": "application/jwt"})).text)[
            "ended"
        ]
        return mark not in [entry[0] for entry in told]

    return Case(is_not_told, lambda: a.post("/revoke", client, token=token))
