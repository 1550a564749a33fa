"""RFC 8693: what ends a token that was exchanged for another, and how far a chain of exchanges goes."""

from tests.fixtures.accounts import make
from tests.fixtures.servers import Server
from tests.flows.test_status_lists import status_of
from tests.flows.test_token_exchange import (
    API,
    DOWN,
    FORMATS,
    caller,
    look,
    own,
    refusal,
    service,
    swap,
    switch,
)

from watchword.flows.clients.client_registry import Registered
from watchword.flows.users import account_changes
from watchword.jose import jws
from watchword.oauth import exchange, status_list


async def switch_off_and_on(server: Server, client: Registered) -> None:
    """Disable a client and enable it again at once."""
    for disabled in (True, False):
        await switch(server, client, disabled=disabled)


@FORMATS
async def test_ad_07_a_caller_that_is_there_again_has_lost_what_was_made_of_its_tokens(
    server: Server, token_format: str
) -> None:
    form = {"access_token_format": token_format, "access_token_status": token_format == "jwt"}
    asked, api = await caller(server), await service(server, **form)

    async def child() -> str:
        answer = await swap(server, api, await own(server, asked, resource=API), audience=DOWN)
        return str(answer.json()["access_token"])

    before = await child()
    await switch_off_and_on(server, asked)
    after = await child()
    assert await look(server, api, before) == {"active": False}
    assert (await look(server, api, after))["active"] is True, "it was made of a token that is good"
    if token_format == "jwt":
        assert await status_of(server, before) == status_list.INVALID
        assert await status_of(server, after) == status_list.VALID


@FORMATS
async def test_ad_07_what_was_issued_between_two_ends_within_a_second_has_ended(
    server: Server, token_format: str
) -> None:
    form = {"access_token_format": token_format, "access_token_status": token_format == "jwt"}
    client = await service(server, resources=[API], **form)
    judge = await server.client(scope="introspect", resources=[API])
    issued = []
    for _ in range(3):
        issued.append(await own(server, client, resource=API))
        assert (await look(server, judge, issued[-1]))["active"] is True, "the honest variant"
        await switch_off_and_on(server, client)
    for token in issued:
        assert await look(server, judge, token) == {"active": False}
        if token_format == "jwt":
            assert await status_of(server, token) == status_list.INVALID


async def test_ad_07_so_has_what_was_made_for_a_person_between_two_ends_of_the_account(
    server: Server,
) -> None:
    ada, api = await make(server), await service(server)
    issued = []
    for _ in range(3):
        sent = (await server.token(owner="ada", resource=API)).secret
        issued.append((await swap(server, api, sent, audience=DOWN)).json()["access_token"])
        assert (await look(server, api, issued[-1]))["active"] is True, "the honest variant"
        for disabled in (True, False):
            await account_changes.set_disabled(server.runtime, ada, disabled, actor="test")
    for token in issued:
        assert await look(server, api, token) == {"active": False}


async def test_ad_07_what_cannot_end_with_the_account_offline_is_not_issued(server: Server) -> None:
    """Whoever verifies a JWT offline learns of the account's end by its mark, which would join the names that pairwise clients know."""
    await make(server)
    sent = (await server.token(owner="ada", resource=API)).secret
    for subject_type, status in (("public", 200), ("pairwise", 400)):
        api = await service(server, subject_type=subject_type, name=subject_type)
        answer = await swap(server, api, sent, audience=DOWN, requested_token_type=exchange.JWT)
        assert answer.status_code == status, answer.text
        opaque = (await swap(server, api, sent, audience=DOWN)).json()["access_token"]
        assert (await look(server, api, opaque))["active"] is True
    assert answer.json()["field"] == "requested_token_type"


@FORMATS
async def test_kr_03_a_revoked_key_takes_along_what_was_made_of_the_tokens_that_it_signed(
    server: Server, token_format: str
) -> None:
    asked = await caller(server)
    api = await service(server, access_token_format=token_format, access_token_status=token_format == "jwt")
    sent = await own(server, asked, resource=API)
    child = (await swap(server, api, sent, audience=DOWN)).json()["access_token"]
    assert (await look(server, api, child))["active"] is True, "the honest variant"
    await server.runtime.keyring.revoke(str(jws.peek(sent).kid), actor="test")
    assert await look(server, api, child) == {"active": False}
    if token_format == "jwt":
        assert await status_of(server, child) == status_list.INVALID


async def test_a_token_is_exchanged_four_times_in_a_row(server: Server) -> None:
    links = [
        await service(server, resources=[API], token_exchange={"serves": [API], "impersonate": True})
        for _ in range(5)
    ]
    token = await own(server, await caller(server), resource=API)
    for link in links[:4]:
        answer = await swap(server, link, token, audience=API)
        assert answer.status_code == 200, answer.text
        token = answer.json()["access_token"]
    assert refusal(await swap(server, links[4], token, audience=API)) == (400, "invalid_request")


@FORMATS
async def test_a_new_token_of_a_client_that_is_there_again_at_once_does_not_outlive_the_old_one(
    server: Server, token_format: str
) -> None:
    client = await server.client(grant_types=["token_exchange"], access_token_format=token_format)
    issued = await server.token(expires_in=5)
    await switch_off_and_on(server, client)
    document = (await swap(server, client, issued.secret)).json()
    claims = await look(server, client, document["access_token"])
    assert claims["exp"] == issued.token.expires_at == server.runtime.now() + document["expires_in"]
