"""What signed before `signing_algorithms` was changed: its tokens are of published keys, and are good until they expire."""

from pathlib import Path

import httpx
import pytest
from tests.fixtures.accounts import another, make
from tests.fixtures.applications import BYE, application, connect, is_alive
from tests.fixtures.code_flow import request
from tests.fixtures.people import Person
from tests.fixtures.servers import Server, open_server
from tests.flows.test_fapi2 import Bank

from watchword.flows.keyring import JWKS_MAX_AGE


async def test_tokens_outlive_the_setting_that_they_were_signed_by(tmp_path: Path) -> None:
    async with open_server(tmp_path, signing_algorithms=("ES256", "EdDSA")) as before:
        await make(before)
        async with another(before) as browser:
            ada = Person(before, browser)
            await ada.sign_in()
            client = await application(before)
            tokens = await connect(ada, client)
            cookies = httpx.Cookies(browser.cookies)
        assert await is_alive(before, client, tokens["access_token"])
    async with open_server(tmp_path, signing_algorithms=("EdDSA",)) as after, another(after) as browser:
        browser.cookies = cookies
        states = {(key.algorithm, state) for key, state in await after.runtime.keyring.states()}
        assert states == {("ES256", "unused"), ("EdDSA", "current"), ("EdDSA", "next")}
        assert await is_alive(after, client, tokens["access_token"])
        told = await browser.get("/userinfo", headers={"authorization": f"Bearer {tokens['access_token']}"})
        assert told.status_code == 200
        silent = request(client, prompt="none", id_token_hint=tokens["id_token"])
        assert "code=" in (await browser.get("/authorize", params=silent)).headers["location"]
        bye = {"id_token_hint": tokens["id_token"], "post_logout_redirect_uri": BYE}
        assert (await browser.get("/logout", params=bye)).headers["location"] == BYE


async def test_nothing_is_signed_for_a_client_of_fapi_2_by_an_algorithm_that_it_forbids(
    tmp_path: Path,
) -> None:
    async with open_server(tmp_path, signing_algorithms=("RS256", "ES256")) as before:
        bank = await Bank(before).register()
        assert (await bank.token()).status_code == 200, "the honest variant"
    async with open_server(tmp_path, signing_algorithms=("RS256",)) as after:
        bank.server = after
        refused = await bank.token()
        assert (refused.status_code, refused.json()["error"]) == (500, "server_error")
        assert "ES256 or EdDSA" in refused.json()["error_description"]
        other = await after.client(scope="orders:read", grant_types=["client_credentials"])
        assert (await after.grant(other)).status_code == 200, "a client of no such profile"
    async with open_server(tmp_path, signing_algorithms=("RS256", "EdDSA")) as again:
        bank.server = again
        assert (await bank.token()).status_code == 200


async def kids(server: Server, algorithm: str = "ES256") -> list[str]:
    published = (await server.http.get("/.well-known/jwks.json")).json()["keys"]
    return [key["kid"] for key in published if key["alg"] == algorithm]


@pytest.mark.parametrize(
    "order", [(0, 1), (1, 0), (0,), (1,)], ids=["both", "both, the next first", "the last", "the next"]
)
async def test_revoked_keys_of_a_dropped_algorithm_do_not_come_back_until_it_is_named_again(
    tmp_path: Path, order: tuple[int, ...]
) -> None:
    async with open_server(tmp_path, signing_algorithms=("ES256", "EdDSA")):
        pass
    async with open_server(tmp_path, signing_algorithms=("EdDSA",)) as after:
        left, others = await kids(after), await kids(after, "EdDSA")
        current = next(
            key.kid for key, _ in await after.runtime.keyring.states() if key.activates_at and key.kid in left
        )
        for position in order:
            kid = sorted(left, key=lambda kid: kid != current)[position]
            assert await after.runtime.keyring.revoke(kid, actor="test")
            left = [one for one in left if one != kid] if len(order) == 1 else left
            assert kid not in await kids(after)
        assert sorted(await kids(after)) == (sorted(left) if len(order) == 1 else [])
        assert await kids(after, "EdDSA") == others
    async with (
        open_server(tmp_path, signing_algorithms=("ES256",)) as again,
        open_server(tmp_path, signing_algorithms=("ES256",)) as another_node,
    ):
        states = [state for key, state in await again.runtime.keyring.states() if key.algorithm == "ES256"]
        assert sorted(states) == ["current", "next"]
        assert sorted(await kids(another_node)) == sorted(await kids(again)), "which found all that it needs"
        client = await again.client(scope="introspect orders:read", grant_types=["client_credentials"])
        token = (await again.grant(client, scope="orders:read")).json()["access_token"]
        assert await is_alive(again, client, token)
        again.clock.advance(JWKS_MAX_AGE)
        assert await again.runtime.keyring.rotate("ES256", actor="test")


async def test_a_command_that_is_not_told_of_an_algorithm_leaves_a_node_a_key_to_sign_with(
    tmp_path: Path,
) -> None:
    async with (
        open_server(tmp_path, signing_algorithms=("ES256",)) as node,
        open_server(tmp_path, signing_algorithms=("EdDSA",)) as told_otherwise,
    ):
        client = await node.client(scope="introspect orders:read", grant_types=["client_credentials"])
        current = (await node.runtime.keyring.signing_key("ES256")).kid
        assert current is not None
        assert await told_otherwise.runtime.keyring.revoke(current, actor="test")
        token = (await node.grant(client, scope="orders:read")).json()["access_token"]
        assert await is_alive(node, client, token)
