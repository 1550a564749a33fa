"""FD-02, SE-09: a provider's answer that comes as a form of its page is as good as one in the address, and as bound to one browser."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
import pytest_asyncio
from tests.attacks.test_upstream_lies import ANSWERS
from tests.fixtures.accounts import another, make
from tests.fixtures.lying_provider import PATH, Provider, begin, provider, trusting
from tests.fixtures.people import Person
from tests.fixtures.rows import in_turn
from tests.fixtures.servers import Server

from watchword.flows.outbound import RETRY_AFTER
from watchword.settings import Upstream

__all__ = ["provider"]
# What a browser says of a form that another site's page sends; it has no SameSite=Lax cookies.
FOREIGN = {"origin": "https://id.example.com", "sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}


@pytest_asyncio.fixture
async def server(provider: Provider, tmp_path: Path) -> AsyncIterator[Server]:
    """A server that asks its provider to answer by a form, with a person in it."""
    hub = Upstream(
        name="hub", title="The Hub", client_id="us", issuer=provider.issuer, response_mode="form_post"
    )
    async with trusting(tmp_path, hub) as opened:
        provider.now = opened.clock
        await make(opened)
        yield opened


async def post(server: Server, answer: dict[str, str], path: str = PATH) -> httpx.Response:
    """Send an answer as the form of another site's page."""
    async with another(server) as without_cookies:
        return await without_cookies.post(path, data=answer, headers=FOREIGN)


async def bring(person: Person, answer: dict[str, str]) -> str:
    """Have the provider's page send an answer, and follow where that leads."""
    sent = await post(person.server, answer)
    assert sent.status_code == 303, sent.text
    assert "set-cookie" not in sent.headers
    assert not any(value in sent.headers["location"] for value in answer.values()), "nothing to log or keep"
    await person.open(sent.headers["location"])
    return person.path


async def test_an_answer_by_a_form_signs_in_and_is_asked_for(server: Server, provider: Provider) -> None:
    person = Person(server, another(server))
    asked = (await person.http.get("/upstream/hub")).headers["location"]
    assert parse_qs(urlsplit(asked).query)["response_mode"] == ["form_post"]
    assert await bring(person, await begin(person, provider)) == "/upstream/link", "a question, as always"


@in_turn("lie", ANSWERS)
async def test_fd_02_a_form_that_was_not_asked_for_is_refused(
    server: Server, provider: Provider, lie: str
) -> None:
    person = Person(server, another(server))
    answer = await begin(person, provider)
    changed = {name: value for name, value in {**answer, **ANSWERS[lie]}.items() if value is not None}
    asked = len(provider.asked)
    assert await bring(person, changed) == PATH
    assert "/token" not in provider.asked[asked:], "no code was sent anywhere"
    assert await bring(person, await begin(person, provider)) == "/upstream/link", "the honest variant"


async def test_fd_02_a_form_belongs_to_one_browser_and_counts_once(
    server: Server, provider: Provider
) -> None:
    person, victim = Person(server, another(server)), Person(server, another(server))
    answer = await begin(person, provider)
    assert await bring(victim, answer) == PATH, "signed in as the attacker by a form (login CSRF)"
    await begin(victim, provider)
    assert await bring(victim, answer) == PATH
    fresh = await begin(person, provider)
    address = (await post(server, fresh)).headers["location"]
    assert await bring(person, fresh) == "/upstream/link"
    again = Person(server, person.http)
    await again.open(address)
    assert again.path == PATH, "an answer counts once"


async def test_fd_02_where_a_form_was_asked_for_no_address_answers(
    server: Server, provider: Provider
) -> None:
    person = Person(server, another(server))
    answer = await begin(person, provider)
    address = (await post(server, answer)).headers["location"]
    await person.open(f"{PATH}?{httpx.QueryParams(answer)}")
    assert person.path == PATH
    sealed = parse_qs(urlsplit(address).query)["answer"][0]
    for forged in ("", "x", sealed[:-4] + "AAAA", "é"):
        await person.open(f"{PATH}?{httpx.QueryParams({'answer': forged})}")
        assert person.path == PATH
    await person.open(address)
    assert person.path == "/upstream/link", "the honest variant"


@pytest.mark.parametrize(("moved", "leads"), [(-60, "/upstream/link"), (119, "/upstream/link"), (120, PATH)])
async def test_fd_02_a_form_is_too_old_after_two_minutes(
    server: Server, provider: Provider, moved: int, leads: str
) -> None:
    person = Person(server, another(server))
    answer = await begin(person, provider)
    address = (await post(server, answer)).headers["location"]
    server.clock.advance(moved)
    await person.open(address)
    assert person.path == leads
    if leads == PATH:
        assert await bring(person, answer) == "/upstream/link", "the honest variant"


async def test_se_09_no_other_form_of_another_site_is_taken(server: Server, provider: Provider) -> None:
    person = Person(server, another(server))
    await person.sign_in()
    assert person.path == "/account"
    for path in ("/sign-in", "/account/upstream", "/upstream/link"):
        refused = await person.http.post(path, data={"csrf": "x"}, headers=FOREIGN)
        assert refused.status_code == 400, path
        async with another(server) as without_cookies:  # as a browser sends it
            refused = await without_cookies.post(path, data={"csrf": "x"}, headers=FOREIGN)
        assert refused.status_code in (400, 303), path
        assert "ww-browser" not in refused.headers.get("set-cookie", ""), "it stays the browser that it was"
    before = await person.http.get("/account")
    assert (
        await person.http.post(PATH, data={"code": "x", "state": "y"}, headers=FOREIGN)
    ).status_code == 303
    assert (await person.http.get("/account")).status_code == before.status_code, "nothing was done"


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        ({"content": b'{"code": "x"}', "headers": {"content-type": "application/json"}}, 400),
        (
            {"content": b"state=a&state=b", "headers": {"content-type": "application/x-www-form-urlencoded"}},
            400,
        ),
        ({"data": {"code": "x" * 7000}}, 400),
        ({"data": {"code": "x" * 4096, "user": "é" * 1000}}, 400),
        ({"data": {"code": "x" * 4096, "state": "y" * 43, "user": "{}"}}, 303),
    ],
    ids=["no form", "a member twice", "too long", "too long in bytes", "as long as may be"],
)
async def test_a_form_is_taken_to_the_letter(server: Server, sent: dict[str, Any], status: int) -> None:
    async with another(server) as browser:
        answer = await browser.post(PATH, **sent)
    assert answer.status_code == status
    assert len(answer.headers.get("location", "")) < 8000, "every proxy passes it on"


async def test_a_provider_that_answers_in_the_address_sends_no_form(
    provider: Provider, tmp_path: Path
) -> None:
    hub = Upstream(name="hub", title="The Hub", client_id="us", issuer=provider.issuer)
    async with trusting(tmp_path, hub) as server:
        provider.now = server.clock
        person = Person(server, another(server))
        answer = await begin(person, provider)
        assert (await post(server, answer)).status_code == 400
        assert (await post(server, answer, "/upstream/nobody/callback")).status_code == 404


async def test_a_provider_that_takes_no_such_wish_is_not_asked(server: Server, provider: Provider) -> None:
    provider.metadata = {"response_modes_supported": ["query"]}
    person = Person(server, another(server))
    await person.open("/upstream/hub")
    assert "didn’t sign you in" in person.text
    provider.metadata = {"response_modes_supported": ["query", "form_post"]}
    server.clock.advance(RETRY_AFTER)
    assert (await person.http.get("/upstream/hub")).status_code == 303
