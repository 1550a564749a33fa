"""Signing in with GitHub: whoever its API speaks of, by number, with the address that it has verified or without one."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import pytest_asyncio
from tests.fixtures.accounts import another, session_of, user_of
from tests.fixtures.json_handler import JsonHandler, listen
from tests.fixtures.lying_provider import trusting
from tests.fixtures.people import Person
from tests.fixtures.postgres import Store
from tests.fixtures.rows import in_turn
from tests.fixtures.servers import Server

from watchword.credentials import upstream_github
from watchword.settings import Upstream

TOKEN = {"access_token": "gho_x", "token_type": "bearer", "scope": "read:user,user:email"}
USER = {"id": 583231, "login": "octocat", "name": "The Octocat", "email": None}
EMAILS = [{"email": "octocat@example.com", "primary": True, "verified": True, "visibility": "private"}]


class Hub:
    """GitHub's two hosts as one on loopback: what it answers by path, and what it was asked."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[int, Any]] = {
            "/token": (200, TOKEN),
            "/user": (200, USER),
            "/user/emails": (200, EMAILS),
        }
        self.forms: list[dict[str, list[str]]] = []
        self.bearers: list[str | None] = []
        hub = self

        class Handler(JsonHandler):
            def get(self) -> tuple[int, Any]:
                hub.bearers.append(self.headers["authorization"])
                return hub.answers[self.path]

            def post(self, form: dict[str, list[str]]) -> tuple[int, Any]:
                assert self.headers["accept"] == "application/json", "else GitHub answers with a form"
                hub.forms.append(form)
                return hub.answers[self.path]

        self.server = listen(Handler)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """GitHub, at addresses of this machine."""
    made = Hub()
    base = f"http://localhost:{made.server.server_port}"
    for name, path in (("TOKEN_URL", "/token"), ("USER_URL", "/user"), ("EMAILS_URL", "/user/emails")):
        monkeypatch.setattr(upstream_github, name, base + path)
    yield made
    made.server.shutdown()


@pytest_asyncio.fixture
async def server(hub: Hub, store: Store, tmp_path: Path) -> AsyncIterator[Server]:
    """A server where people register by GitHub."""
    github = Upstream(name="github", title="GitHub", client_id="us", client_secret="s3", kind="github")
    async with trusting(tmp_path, github, on=store.address) as opened:
        yield opened


async def come(server: Server, person: Person | None = None, **lies: str) -> tuple[Person, dict[str, str]]:
    """Go to GitHub and come back; return the person with what GitHub was asked."""
    person = person or Person(server, another(server))
    begun = await person.http.get("/upstream/github")
    assert begun.headers["location"].startswith("https://github.com/login/oauth/authorize?")
    asked = {name: values[0] for name, values in parse_qs(urlsplit(begun.headers["location"]).query).items()}
    answer = {"code": "c0de", "state": asked["state"]} | lies
    await person.open("/upstream/github/callback?" + "&".join(f"{k}={v}" for k, v in answer.items()))
    return person, asked


async def test_a_person_registers_and_signs_in_again_whatever_they_are_called_there(
    server: Server, hub: Hub
) -> None:
    person, asked = await come(server)
    assert person.path == "/account"
    assert {"code_challenge", "state"} <= asked.keys()
    assert not {"nonce", "prompt", "max_age"} & asked.keys()
    (form,) = hub.forms
    assert (form["client_id"], form["client_secret"], form["code"]) == (["us"], ["s3"], ["c0de"])
    assert form["code_verifier"]
    assert hub.bearers == ["Bearer gho_x"] * 2
    made = await user_of(server, "octocat@example.com")
    assert (made.display_name, made.email_verified_at is not None) == ("The Octocat", True)
    assert not made.is_admin
    hub.answers["/user"] = (200, {**USER, "login": "renamed"})
    hub.answers["/user/emails"] = (403, {"message": "Resource not accessible by integration"})
    again, _ = await come(server)
    assert again.path == "/account", "the number is enough for an account that is known"
    assert (await session_of(server, "octocat@example.com")).amr == ("fed",)
    hub.answers["/user"] = (200, {**USER, "id": 583232})
    other, _ = await come(server)
    assert "Ask for an invitation" in other.text, "the same login, given up and taken by somebody else"


async def test_who_is_signed_in_is_asked_which_account_it_shall_be(server: Server, hub: Hub) -> None:
    person, _ = await come(server)
    again, asked = await come(server, person)
    assert again.path == "/account", "it tells no time, and nobody but the account asks"
    assert asked["prompt"] == "select_account"
    assert "max_age" not in asked


@in_turn(
    ("path", "answer"),
    [
        ("/token", (200, {"error": "bad_verification_code"})),
        ("/token", (200, {**TOKEN, "token_type": "mac"})),
        ("/token", (200, {**TOKEN, "access_token": "gho_é"})),
        ("/token", (200, {**TOKEN, "access_token": "gho_x\r\nhost: evil.example"})),
        ("/user", (401, {"message": "Bad credentials"})),
        ("/user", (200, {**USER, "id": None})),
        ("/user", (200, [USER])),
        ("/user/emails", (200, {"email": "octocat@example.com"})),
    ],
)
async def test_an_answer_of_github_that_is_none_signs_nobody_in(
    server: Server, hub: Hub, path: str, answer: tuple[int, object]
) -> None:
    honest = hub.answers[path]
    hub.answers[path] = answer
    person, _ = await come(server)
    assert person.page is not None
    assert person.page.status_code == 400
    assert "GitHub didn’t sign you in" in person.text
    hub.answers[path] = honest
    assert (await come(server))[0].path == "/account", "the honest variant"


async def test_fd_02_an_answer_of_another_state_redeems_nothing_at_github(server: Server, hub: Hub) -> None:
    person, _ = await come(server, state="x" * 43)
    assert "GitHub didn’t sign you in" in person.text
    assert hub.forms == []
    assert (await come(server, person))[0].path == "/account", "the honest variant"
