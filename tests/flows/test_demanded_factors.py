"""What policy says of how people sign in, and a second factor that it demands: nothing is given to anybody before there is one."""

import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlencode

from tests.fixtures import devices
from tests.fixtures.accounts import add_totp, another, make
from tests.fixtures.code_flow import answer_of, decide, register, request
from tests.fixtures.people import Person
from tests.fixtures.postgres import Store
from tests.fixtures.served import server_with
from tests.fixtures.servers import Server, open_server, refusal

from watchword.flows import personal_tokens
from watchword.flows.users.people import Changes, change
from watchword.settings import Upstream

# The application: it demands a second factor of everybody and takes passwords only
strict = server_with(
    sign_in_methods=("password",),
    second_factor_required="always",
    upstream=(Upstream(name="hub", title="The Hub", client_id="c", kind="github"),),
)


async def test_policy_decides_what_is_offered(strict: Server) -> None:
    await make(strict)
    async with another(strict) as browser:
        person = Person(strict, browser)
        await person.open("/sign-in")
        assert person.page is not None
        assert "data-passkey" not in person.page.text
        assert "The Hub" in person.text
        refused = await browser.post("/zero/sign-in", json={})
        assert refused.json()["error"] == "access_denied"
        begun = await browser.get("/upstream/hub")
        assert begun.status_code == 303
        location = begun.headers["location"]
        assert location.startswith("https://github.com/login/oauth/authorize?")
        assert "code_challenge_method=S256" in location


async def test_who_must_have_a_second_factor_sets_one_up_before_any_application_is_answered(
    strict: Server,
) -> None:
    await make(strict)
    client = await register(strict)
    person = Person(strict, another(strict))
    await person.sign_in()
    await person.open(f"/authorize?{urlencode(request(client, scope='openid'))}")
    assert person.path == "/account/second_factors"
    assert "An application is waiting for you." in person.text
    await add_totp(person)
    assert person.page is not None
    back = re.search(r'href="([^"]*/authorize/resume[^"]*)"', person.page.text)
    assert back is not None, "the place is not lost"
    await person.open(back[1])
    assert client.client.name in person.text
    await person.open("/account")
    assert "An application is waiting for you." not in person.text


async def test_who_must_have_a_second_factor_sets_one_up_before_a_device_is_connected(strict: Server) -> None:
    await make(strict)
    client = await devices.register(strict)
    codes = await devices.begin(strict, client)
    person = Person(strict, strict.http)
    await person.sign_in()
    forms: Mapping[str, dict[str, str]] = {
        "/device": {"user_code": codes["user_code"]},
        "/device/confirm": {"user_code": codes["user_code"], "decision": "approve"},
    }
    await person.open("/sign-out")
    csrf = person.form()["csrf"]
    for path, form in forms.items():
        refused = await strict.http.post(path, data={"csrf": csrf, **form})
        assert refused.headers["location"].endswith("/account/second_factors"), path
    assert refusal(await devices.poll(strict, client, codes)) == (400, "authorization_pending")
    await person.open(f"/device?user_code={codes['user_code']}")
    assert person.path == "/account/second_factors"
    await add_totp(person)
    assert person.page is not None
    back = re.search(r'href="([^"]*/device\?user_code=[^"]*)"', person.page.text)
    assert back is not None, "the place is not lost"
    await person.open(back[1])
    await devices.decide(strict, await devices.enter(strict, codes["user_code"]))
    assert (await devices.poll(strict, client, codes)).status_code == 200


async def test_who_must_have_a_second_factor_sets_one_up_before_a_script_gets_a_token(strict: Server) -> None:
    user = await make(strict, is_admin=True)  # who may give any scope
    person = Person(strict, strict.http)
    await person.sign_in()
    await strict.client(scope="orders:read", grant_types=["client_credentials"])
    await person.open("/account/tokens/new")
    assert person.path == "/account/second_factors"
    form = {"csrf": person.form()["csrf"], "name": "backup", "scope": "orders:read", "days": "30"}
    refused = await strict.http.post("/account/tokens/new", data=form)
    assert refused.headers["location"].endswith("/account/second_factors")
    assert await personal_tokens.own(strict.runtime, user) == []
    await add_totp(person)
    await person.open("/account/tokens/new")
    await person.send({"name": "backup", "scope": "orders:read"}, having="name")
    assert [token.name for token, _ in await personal_tokens.own(strict.runtime, user)] == ["backup"]


async def test_who_lacks_a_demanded_second_factor_gets_no_new_secret_for_a_token_and_may_revoke_it(
    strict: Server,
) -> None:
    await make(strict)
    issued = await strict.token("notes:read", owner="ada")
    person, headers = Person(strict, strict.http), {"authorization": f"Bearer {issued.secret}"}
    await person.sign_in()
    await person.open("/account/tokens")
    form = person.form(having="token")
    address = form.pop("")
    assert form["token"] == issued.token.id
    refused = await strict.http.post(address, data=form | {"do": "rotate", "overlap": "0"})
    assert refused.headers["location"].endswith("/account/second_factors")
    assert (await strict.http.get("/api/v1/tokens/self", headers=headers)).status_code == 200
    revoked = await strict.http.post(address, data=form | {"do": "revoke"})
    assert revoked.headers["location"].endswith("/account/tokens?notice=token_revoked")
    assert (await strict.http.get("/api/v1/tokens/self", headers=headers)).status_code == 401
    again = await strict.token("notes:read", owner="ada")
    await add_totp(person)
    await person.open("/account/tokens")
    rotated = await strict.http.post(
        address, data=person.form(having="token") | {"token": again.token.id, "do": "rotate", "overlap": "0"}
    )
    assert rotated.status_code == 200, "the honest variant"
    assert "wwa_" in rotated.text


async def test_a_consent_counts_for_nobody_of_whom_a_second_factor_is_demanded_by_now(
    store: Store, tmp_path: Path
) -> None:
    async with open_server(tmp_path, on=store.address, second_factor_required="administrators") as server:
        user, client = await make(server), await register(server)
        await Person(server, server.http).sign_in()
        asked = request(client, prompt="consent")
        honest = await decide(server, await server.http.get("/authorize", params=asked))
        assert "code" in answer_of(honest), "nobody demands one of her yet"
        page = await server.http.get("/authorize", params=asked)
        await change(server.runtime, user, Changes(is_admin=True), actor="test")
        answer = await decide(server, page)
        assert answer.headers["location"].endswith("/account/second_factors")
