"""What signed before `signing_algorithms` was changed: its tokens are of published keys, and are good until they expire."""

from pathlib import Path

import httpx
from tests.fixtures.accounts import another, make
from tests.fixtures.applications import BYE, application, connect, is_alive
from tests.fixtures.code_flow import request
from tests.fixtures.people import Person
from tests.fixtures.servers import open_server


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
