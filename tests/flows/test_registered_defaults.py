"""OpenID Connect Registration §2: what a client is registered with that its requests do not say."""

from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from tests.attacks.authorization import begin
from tests.fixtures import lying_provider, registering
from tests.fixtures.accounts import another, make
from tests.fixtures.code_flow import answer_of, obtain_code, register, request, sign_in
from tests.fixtures.lying_provider import Provider, provider
from tests.fixtures.people import Person
from tests.fixtures.registering import server
from tests.fixtures.servers import Server

from watchword.oauth.errors import OAuthError
from watchword.settings import Upstream

__all__ = ["provider", "server"]


async def test_what_a_client_states_of_itself_is_kept_and_told(server: Server) -> None:
    wanted = {"default_max_age": 3600, "require_auth_time": True, "default_acr_values": ["urn:nobody", "pwd"]}
    answer = (await registering.register(server, **wanted)).json()
    assert {name: answer[name] for name in wanted} == wanted
    assert not {*wanted} & {*(await registering.register(server)).json()} - {"default_acr_values"}


async def test_az_12_the_age_that_a_client_registered_holds_where_its_request_names_none(
    server: Server,
) -> None:
    client = await register(server, default_max_age=1)
    await obtain_code(server, client)
    server.clock.advance(2)
    assert "code" in answer_of(await begin(server, client, max_age="3600")), "the request's own comes first"
    assert answer_of(await begin(server, client, prompt="none"))["error"] == "login_required"
    back = await sign_in(server, await begin(server, client))
    assert "code" in answer_of(await server.http.get(back.headers["location"]))


@pytest.mark.parametrize(
    ("given", "field"),
    [
        pytest.param(
            {"require_pkce": False, "grant_types": ["authorization_code"]}, "require_pkce", id="PKCE"
        ),
        pytest.param({"grant_types": ["client_credentials"]}, "grant_types", id="a proof of who it is"),
    ],
)
async def test_a_client_without_a_secret_cannot_do_without(
    server: Server, given: dict[str, Any], field: str
) -> None:
    """RFC 9700 §2.1.1, RFC 6749 §4.4."""
    given["redirect_uris"] = ["https://app.example/callback"]
    assert (await server.client(**given)).client_secret
    with pytest.raises(OAuthError) as caught:
        await server.client(**given, token_endpoint_auth_method="none")
    assert caught.value.field == field


@pytest.mark.parametrize("said", ["a time", "nothing"])
async def test_az_12_who_has_to_know_the_time_of_a_sign_in_takes_none_of_unknown_time(
    provider: Provider, tmp_path: Path, said: str
) -> None:
    hub = Upstream(name="hub", title="The Hub", client_id="us", issuer=provider.issuer)
    async with lying_provider.trusting(tmp_path, hub) as server:
        provider.now = server.clock
        await make(server)
        await lying_provider.link(server, provider)
        provider.claims["auth_time"] = int(server.clock()) if said == "a time" else None
        person = Person(server, another(server))
        signing_in = await lying_provider.begin(person, provider)
        assert await lying_provider.come_back(person, signing_in) == "/account"
        for required, error in ((False, "consent_required"), (True, "login_required")):
            client = await register(server, require_auth_time=required)
            silent = await person.open(f"/authorize?{urlencode(request(client, prompt='none'))}")
            assert answer_of(silent)["error"] == (error if said == "nothing" else "consent_required")
