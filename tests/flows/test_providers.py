"""Signing in with another provider: the secret where it is taken, and the person's place when it does not work."""

import html
from pathlib import Path
from typing import Literal

import pytest
from tests.fixtures.accounts import EMAIL, another, make
from tests.fixtures.lying_provider import (
    PATH,
    Provider,
    begin,
    come_back,
    link,
    provider,
    server,
    sign_in,
    trusting,
)
from tests.fixtures.people import PASSWORD, Person
from tests.fixtures.servers import Server, open_server, together

from watchword.flows.outbound import RETRY_AFTER
from watchword.flows.users import accounts
from watchword.settings import SettingsError, Upstream, load

__all__ = ["provider", "server"]

BASIC, POST = "client_secret_basic", "client_secret_post"


@pytest.mark.parametrize(
    ("offered", "auth", "in_header"),
    [([BASIC, POST], None, True), ([POST], None, False), ([BASIC, POST], "client_secret_post", False)],
)
async def test_a_secret_reaches_a_provider_as_it_takes_it(
    tmp_path: Path,
    provider: Provider,
    offered: list[str],
    auth: Literal["client_secret_post"] | None,
    in_header: bool,
) -> None:
    provider.metadata = {"token_endpoint_auth_methods_supported": offered}
    hub = Upstream(
        name="hub", title="The Hub", client_id="us", client_secret="s", issuer=provider.issuer, auth=auth
    )
    async with open_server(tmp_path, sign_up="open", fetch_allow_loopback=True, upstream=(hub,)) as opened:
        provider.now = opened.clock
        person = Person(opened, another(opened))
        assert await come_back(person, await begin(person, provider)) == "/account"
    header, form = provider.presented[0]
    assert (header == "Basic dXM6cw==") is in_header
    assert ("client_secret" not in form) is in_header


async def test_whom_a_provider_does_not_sign_in_goes_on_to_where_they_wanted(
    server: Server, provider: Provider
) -> None:
    person = Person(server, another(server))
    await person.open("/account/tokens")
    assert person.page is not None
    addresses = [part.split('"')[0] for part in person.page.text.split('href="')]
    answer = await begin(person, provider, next(one for one in addresses if "/upstream/hub" in one))
    del answer["code"]
    await come_back(person, {**answer, "error": "access_denied"})
    assert "The Hub didn’t sign you in" in person.text
    await person.send({"identifier": "ada", "password": PASSWORD})
    assert person.path == "/account/tokens"


async def test_whom_a_provider_knows_and_we_do_not_is_told_what_to_do(
    tmp_path: Path, provider: Provider
) -> None:
    hub = Upstream(name="hub", title="The Hub", client_id="us", issuer=provider.issuer)
    async with open_server(tmp_path, fetch_allow_loopback=True, upstream=(hub,)) as opened:
        provider.now = opened.clock
        person = Person(opened, another(opened))
        await come_back(person, await begin(person, provider))
        assert "Ask for an invitation" in person.text


@pytest.mark.parametrize("sign_up", ["open", "invited"])
async def test_whose_address_an_account_has_that_nobody_confirmed_is_told_what_to_do(
    tmp_path: Path, provider: Provider, sign_up: Literal["open", "invited"]
) -> None:
    hub = Upstream(name="hub", title="The Hub", client_id="us", issuer=provider.issuer)
    async with open_server(
        tmp_path, mode="development", sign_up=sign_up, fetch_allow_loopback=True, upstream=(hub,)
    ) as opened:
        provider.now = opened.clock
        await accounts.create(opened.runtime, username="ada", email=EMAIL, password=PASSWORD, actor="test")
        person = Person(opened, another(opened))
        await come_back(person, await begin(person, provider))
        assert "connect The Hub on your profile" in person.text
        await person.sign_in()
        await person.open("/account")
        assert person.page is not None
        addresses = [part.split('"')[0] for part in person.page.text.split('href="')]
        await come_back(
            person, await begin(person, provider, html.unescape(next(a for a in addresses if "?link=" in a)))
        )
        assert "Your accounts are connected." in person.text, "the honest variant"


async def test_what_stands_against_connecting_is_told_on_the_profile(
    server: Server, provider: Provider
) -> None:
    await make(server, "eve", "eve@example.com")
    assert (await link(server, provider)).path == "/account", "the provider's account is ada's"
    eve = Person(server, another(server))
    await eve.sign_in("eve")
    for lie, told in (
        ({}, "already signs somebody in here"),
        ({"auth_time": 5}, "Sign out there, then try again."),
        ({"auth_time": None}, "Sign in another way."),
    ):
        provider.claims |= lie
        await eve.open("/account")
        assert eve.page is not None
        button = next(part.split('"')[0] for part in eve.page.text.split('href="') if "?link=" in part)
        await come_back(eve, await begin(eve, provider, html.unescape(button)))
        assert eve.page.status_code == 400
        assert told in eve.text
        assert "Your account" in eve.text, "on her profile"
    provider.claims = {"sub": "hers"}
    await come_back(eve, await begin(eve, provider, html.unescape(button)))
    assert "Your accounts are connected." in eve.text, "the honest variant"


async def test_a_provider_is_asked_nothing_for_an_answer_to_no_attempt_of_the_browser(
    server: Server, provider: Provider
) -> None:
    stranger = another(server)
    answered = await stranger.get("/upstream/hub/callback?state=x&code=y")
    assert answered.status_code == 400
    assert provider.asked == []
    person = Person(server, stranger)
    assert await come_back(person, await begin(person, provider)) == "/upstream/link", "the honest variant"


async def test_a_provider_that_is_down_is_asked_once_in_a_while_however_many_choose_it(
    server: Server, provider: Provider
) -> None:
    provider.status = 503
    for answer in await together(*(another(server).get("/upstream/hub") for _ in range(6))):
        assert "The Hub didn’t sign you in" in answer.text
    assert len(provider.asked) == 1
    provider.status = 200
    server.clock.advance(RETRY_AFTER)
    person = Person(server, another(server))
    assert await come_back(person, await begin(person, provider)) == "/upstream/link", "once it is back"


async def test_keys_of_a_provider_that_cannot_be_read_are_not_kept(
    server: Server, provider: Provider
) -> None:
    provider.published = {"keys": "in maintenance"}
    person = Person(server, another(server))
    for _ in range(3):
        assert await come_back(person, await begin(person, provider)) == PATH
        assert "The Hub didn’t sign you in" in person.text
    assert provider.asked.count("/jwks") == 1, "nor asked for again at once"
    provider.published = {}
    server.clock.advance(RETRY_AFTER)
    assert await come_back(person, await begin(person, provider)) == "/upstream/link"


def test_the_private_networks_of_a_provider_are_networks() -> None:
    hub = {"name": "hub", "title": "The Hub", "client_id": "us", "issuer": "https://hub.example"}
    given = {**hub, "networks": ["10.20.0.0/16", "fd12::/48"]}
    assert load({"upstream": [given]}, {}).upstream[0].networks == ("10.20.0.0/16", "fd12::/48")
    for wrong in ("10.20.0.1/16", "intranet", ""):
        with pytest.raises(SettingsError, match="'hub': networks"):
            load({"upstream": [{**hub, "networks": [wrong]}]}, {})


def test_no_provider_takes_the_name_of_the_page_on_which_accounts_are_linked() -> None:
    hub = {"name": "hub", "title": "The Hub", "client_id": "us", "issuer": "https://hub.example"}
    assert load({"upstream": [hub]}, {}).upstream[0].name == "hub", "the honest variant"
    with pytest.raises(SettingsError, match="'link'"):
        load({"upstream": [{**hub, "name": "link"}]}, {})


def test_what_cannot_be_said_of_a_provider_is_refused_at_the_start() -> None:
    hub = {"name": "hub", "title": "The Hub", "client_id": "us", "issuer": "https://hub.example"}
    github = {"name": "github", "title": "GitHub", "client_id": "us", "kind": "github"}
    for wrong, complaint in (
        ({**hub, "scopes": ["email"]}, "scopes must include openid"),
        ({**github, "response_mode": "form_post"}, "does not support response_mode"),
        ({**github, "tells_auth_time": True}, "leave tells_auth_time out"),
    ):
        with pytest.raises(SettingsError, match=complaint):
            load({"upstream": [wrong]}, {})


async def test_an_account_at_a_provider_no_longer_offered_is_seen_and_can_be_unlinked(
    server: Server, provider: Provider, tmp_path: Path
) -> None:
    hub = server.settings.upstream[0]
    await link(server, provider)
    assert await sign_in(server, provider) == "/account"
    async with open_server(tmp_path, mode="development", sign_up="open", upstream=()) as without:
        ada = Person(without, another(without))
        await ada.sign_in()
        await ada.open("/account")
        assert "No longer offered" in ada.text
        assert provider.issuer.removeprefix("http://") in ada.text
        assert "/upstream/hub" not in (ada.page.text if ada.page else "")
        refused = await ada.send({"provider": "hub"}, having="provider")
        assert refused.status_code == 404, (
            "a page of the time when it was offered names it so, and unlinks nothing"
        )
        await ada.open("/account")
        await ada.send({}, having="provider")
        assert "No longer offered" not in ada.text
    async with trusting(tmp_path, hub) as again:
        assert await sign_in(again, provider) == "/upstream/link"
