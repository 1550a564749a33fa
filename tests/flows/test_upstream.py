"""Signing in with another OpenID provider: a second Watchword as a process of its own, over real connections."""

import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import parse_qs, urljoin, urlsplit

import httpx
import pytest
import pytest_asyncio
from tests.fixtures.accounts import add_totp, another, make, session_of, user_of
from tests.fixtures.commands import run_cli
from tests.fixtures.lying_provider import trusting
from tests.fixtures.people import PASSWORD, Person
from tests.fixtures.postgres import Store
from tests.fixtures.servers import Process, Server, open_server, serve

from watchword.settings import Upstream

CALLBACK = "http://localhost/upstream/hub/callback"


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """The other provider, with a client for us and two people."""
    folder = tmp_path_factory.mktemp("hub")
    with serve(folder) as process:
        made = run_cli(
            folder, "client", "create", "Us", "--client-id", "us", "--public", "--redirect-uri", CALLBACK,
            "--scope", "openid profile email",
        )  # fmt: skip
        assert made.returncode == 0, made.stdout + made.stderr
        for name in ("ada", "grace"):
            made = run_cli(
                folder, "user", "create", name, "--email", f"{name}@example.com", "--email-verified",
                "--password-stdin", stdin=PASSWORD + "\n",
            )  # fmt: skip
            assert made.returncode == 0, made.stdout + made.stderr
        yield process


@pytest_asyncio.fixture
async def server(hub: Process, store: Store, tmp_path: Path) -> AsyncIterator[Server]:
    """A server that takes the other one's word."""
    provider = Upstream(name="hub", title="The Hub", client_id="us", issuer=hub.issuer)
    async with trusting(tmp_path, provider, on=store.address) as opened:
        yield opened


def walk(address: str, name: str) -> str:
    """Sign in at the other provider as a person would and return where it sends the browser back to."""
    with httpx.Client(timeout=30) as browser:
        response = browser.get(address)
        for _ in range(12):
            location = response.headers.get("location")
            if location is not None:
                target = urljoin(str(response.url), location)
                if target.startswith(CALLBACK):
                    return target
                response = browser.get(target)
                continue
            form = dict(re.findall(r'name="(csrf|return|interaction)" value="([^"]+)"', response.text))
            action = re.search(r'<form method="post" action="([^"]+)"', response.text)
            assert action is not None, response.text[:1000]
            answer = (
                {"decision": "approve"}
                if "interaction" in form
                else {"identifier": name, "password": PASSWORD}
            )
            response = browser.post(action[1], data=form | answer)
    raise AssertionError("the provider never answered")


async def begin(person: Person) -> str:
    """Choose the provider on the sign-in page; return the address there."""
    await person.open("/sign-in")
    assert "The Hub" in person.text
    begun = await person.http.get("/upstream/hub")
    assert begun.status_code == 303, begun.text
    return str(begun.headers["location"])


async def test_a_known_address_is_linked_by_proof_of_both_accounts_only(server: Server) -> None:
    await make(server)
    async with another(server) as browser:
        person = Person(server, browser)
        await person.open(walk(await begin(person), "ada"))
        assert person.path == "/upstream/link", "FD-01: an address signs nobody in"
        assert (await browser.get("/account")).status_code == 303
        await person.open("/upstream/link")
        await person.send({"password": "wrong wrong wrong wrong"}, having="identifier")
        assert person.path == "/upstream/link"
        await person.send({"password": PASSWORD}, having="identifier")
        assert person.path == "/account"
    person = Person(server, another(server))
    await person.open(walk(await begin(person), "ada"))
    assert person.path == "/account", "from now on the provider's word is enough"
    assert (await session_of(server)).amr == ("fed",)


async def test_a_new_person_gets_an_account_without_a_password(server: Server) -> None:
    person = Person(server, another(server))
    await person.open(walk(await begin(person), "grace"))
    assert person.path == "/account"
    assert (await user_of(server, "grace@example.com")).password_changed_at is None
    assert "A password alone" not in person.text, "advice for who has one"
    await person.open("/account/password")
    await person.send({"new_password": PASSWORD}, having="csrf")
    await person.open("/account")
    assert "A password alone is easily stolen." in person.text


@pytest.mark.parametrize("lie", ["state", "iss", "code", "other browser", "again"])
async def test_an_answer_that_is_not_the_one_asked_for_is_refused(server: Server, lie: str) -> None:
    async with another(server) as browser, another(server) as second:
        person, stranger = Person(server, browser), Person(server, second)
        answer = walk(await begin(person), "grace")
        query = {name: values[0] for name, values in parse_qs(urlsplit(answer).query).items()}
        assert {"code", "state", "iss"} <= set(query)
        if lie == "other browser":
            await begin(stranger)
            await stranger.open(answer)
            assert stranger.path != "/account", "FD-02: an answer belongs to the browser that asked"
        elif lie == "again":
            await person.open(answer)
            assert person.path == "/account"
            await stranger.open(answer)
            assert stranger.path != "/account"
        else:
            changed = httpx.URL(CALLBACK, params=query | {lie: "https://evil.example"})
            await person.open(str(changed))
            assert "didn’t sign you in" in person.text
            assert (await browser.get("/account")).status_code == 303
            return
        honest = Person(server, browser)
        await honest.open(answer if lie == "other browser" else "/account")
        assert honest.path == "/account", "the honest variant succeeds"


async def test_an_answer_that_comes_again_leads_where_the_first_one_led(server: Server) -> None:
    """Who goes back to the provider and on again is told no untruth: they are signed in, or half of them."""
    await make(server)
    async with another(server) as browser, another(server) as late:
        person, signed_out = Person(server, browser), Person(server, late)
        answer = walk(await begin(person), "grace")
        for _ in range(2):
            await person.open(answer)
            assert person.path == "/account"
        await browser.get("/account/tokens")
        await person.open("/sign-out")
        await person.send({})
        await person.open(answer)
        assert "didn’t sign you in" in person.text, "it signs nobody in a second time"
        linking = walk(await begin(signed_out), "ada")
        await signed_out.open(linking)
        await signed_out.send({"password": PASSWORD}, having="identifier")
        await add_totp(signed_out)
        await signed_out.open("/sign-out")
        await signed_out.send({})
        answer = walk(await begin(signed_out), "ada")
        for _ in range(2):
            await signed_out.open(answer)
            assert signed_out.path == "/sign-in/second-factor"


async def test_a_provider_that_is_away_leaves_the_other_ways_open(tmp_path: Path) -> None:
    gone = Upstream(name="hub", title="The Hub", client_id="us", issuer="http://localhost:9")
    async with open_server(tmp_path, fetch_allow_loopback=True, upstream=(gone,)) as server:
        await make(server)
        person = Person(server, another(server))
        await person.open("/upstream/hub")
        assert "didn’t sign you in" in person.text
        await person.sign_in()
        assert person.path == "/account"
