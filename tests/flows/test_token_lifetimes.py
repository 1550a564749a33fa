"""The lifetimes of API tokens: what the settings allow, and which of them forms offer, the usual one among them and chosen."""

import re
from pathlib import Path
from typing import Any

import pytest
from tests.fixtures.accounts import add_totp, another, make
from tests.fixtures.people import Person
from tests.fixtures.servers import Server, open_server

from watchword.flows import token_verification
from watchword.flows.token_verification import Use
from watchword.oauth.errors import OAuthError
from watchword.settings import ScopeText
from watchword.store import api_tokens as store

DAY = 86_400
LOWERED = {"api_token_max_lifetime": 90 * DAY}
OWN = ("/account/tokens/new", {"name": "mine", "scope": "notes:read"})
ANY = ("/console/tokens/new", {"name": "any", "owner": "ci", "scope": "notes:read"})


def _offered(page: str) -> tuple[list[str], list[str]]:
    """Return the lifetimes that a page offers, and the one that is chosen."""
    found = re.findall(r'<option value="(\d+)"( selected)?>', page)
    return [days for days, _ in found], [days for days, chosen in found if chosen]


@pytest.mark.parametrize(("address", "given"), [pytest.param(*OWN, id="own"), pytest.param(*ANY, id="any")])
@pytest.mark.parametrize(
    ("usual", "most", "offered", "says"),
    [
        pytest.param(90 * DAY, 365 * DAY, ["7", "30", "90", "180", "365"], "90 days", id="as it comes"),
        pytest.param(45 * DAY, 60 * DAY, ["7", "30", "45"], "45 days", id="an unusual usual one"),
        pytest.param(3 * DAY, 3 * DAY, ["3"], "3 days", id="less than a week"),
        pytest.param(DAY, DAY, ["1"], "1 day", id="a single day"),
        pytest.param(DAY // 2, DAY // 2, [], None, id="less than a day, which leaves no choice"),
    ],
)
async def test_the_usual_lifetime_is_offered_and_chosen(
    tmp_path: Path,
    address: str,
    given: dict[str, str],
    usual: int,
    most: int,
    offered: list[str],
    says: str | None,
) -> None:
    options = {"api_token_lifetime": usual, "api_token_max_lifetime": most}
    personal = {"notes:read": ScopeText(sentence="Read your notes", personal=True)}
    async with open_server(tmp_path, scopes=personal, **options) as server, another(server) as browser:
        await make(server, is_admin=True)
        person = Person(server, browser)
        await person.sign_in()
        server.extra["totp"] = await add_totp(person)
        page = await person.open(address)
        choices, chosen = _offered(page.text)
        assert (choices, chosen) == (offered, [str(usual // DAY)] if offered else [])
        assert says is None or re.search(rf"selected>\s*{says}\s*</option>", page.text)
        await person.send(given | ({"days": chosen[0]} if chosen else {}))
        assert "shown only now" in person.text
        (token,) = await server.runtime.database.read(
            store.list_tokens, after="", limit=2, now=server.runtime.now()
        )
        assert token.expires_at == token.created_at + usual


async def test_a_token_without_an_end_is_made_only_where_never_is_spelled_out(server: Server) -> None:
    endless = await server.token(expires_in="never")
    assert endless.token.expires_at is None
    server.clock.advance(10 * 365 * DAY)
    found = await token_verification.verify(server.runtime, endless.secret, Use())
    assert found.reason == "active"


@pytest.mark.parametrize("allowed", [True, False])
async def test_the_console_offers_a_life_without_end_where_it_is_allowed(
    tmp_path: Path, allowed: bool
) -> None:
    async with open_server(tmp_path, api_token_allow_never=allowed) as server, another(server) as browser:
        await make(server, is_admin=True)
        person = Person(server, browser)
        await person.sign_in()
        server.extra["totp"] = await add_totp(person)
        page = await person.open(ANY[0])
        assert ('value="never"' in page.text) is allowed
        await person.send(ANY[1] | {"days": "never"})
        assert ("shown only now" in person.text) is allowed


@pytest.mark.parametrize(
    ("policy", "allowed", "refused"),
    [
        pytest.param({}, 365 * DAY, 366 * DAY, id="the usual one"),
        pytest.param(LOWERED, 90 * DAY, 91 * DAY, id="a lower one"),
        pytest.param(LOWERED, 90 * DAY, "never", id="a lower one, which has an end"),
        pytest.param(LOWERED | {"api_token_allow_never": True}, "never", 91 * DAY, id="a lower one, or none"),
        pytest.param({"api_token_allow_never": False}, 365 * DAY, "never", id="always with an end"),
    ],
)
async def test_a_life_beyond_the_policy_is_refused(
    tmp_path: Path, policy: dict[str, Any], allowed: Any, refused: Any
) -> None:
    async with open_server(tmp_path, **policy) as server:
        lives = (await server.token(expires_in=allowed)).token
        assert lives.expires_at == (None if allowed == "never" else lives.created_at + allowed)
        with pytest.raises(OAuthError) as caught:
            await server.token(expires_in=refused)
    assert (caught.value.code, caught.value.field) == ("invalid_request", "expires_in")
    assert "api_token" in caught.value.description
