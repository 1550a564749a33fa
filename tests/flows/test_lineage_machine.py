"""RFC 8693 and RFC 7662: whatever ends, in any order, is over at once for all that was made of it, and whoever asks hears the same.

Random sequences on the real endpoints, held against a model without dates: a token stands on things, and is over for good as soon as one
of them has ended. Introspection, the revocation feed and the status lists have to agree with it, and so with one another.
"""

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.fixtures.servers import Server, open_server
from tests.flows.test_status_lists import claims_of, status_of
from tests.flows.test_token_exchange import API, DOWN, service, swap, switch

from watchword.flows import api_tokens
from watchword.flows.clients.client_registry import Registered
from watchword.flows.users import account_changes, accounts
from watchword.guard.ended import Ended
from watchword.jose import jws, jwt
from watchword.oauth import ended, status_list
from watchword.store.users import User

STEPS = 60


@dataclass(eq=False)
class Token:
    """An access token or an API token; `on` is everything that it stands on, itself included."""

    text: str
    on: frozenset[object]
    holder: Registered | None
    expires_at: int
    over: bool = False


@dataclass
class World:
    """The server, who takes part, and what the model knows of each token."""

    server: Server
    choose: random.Random
    clients: list[Registered]
    person: User
    off: set[object] = field(default_factory=set)
    tokens: list[Token] = field(default_factory=list)
    told: Ended = field(default_factory=lambda: Ended(float("inf")))
    log: list[str] = field(default_factory=list)

    @property
    def now(self) -> int:
        """Return the time of the server."""
        return self.server.runtime.now()

    def works(self, token: Token) -> bool:
        """Whether a token is good now; an API token waits while its owner is switched off."""
        return not token.over and self.now < token.expires_at and not token.on & self.off

    def end(self, thing: object, *, but_api_tokens: bool = False) -> None:
        """Note that a thing has ended, for all that was made by now."""
        for token in self.tokens:
            if thing in token.on and not (but_api_tokens and token.holder is None):
                token.over = True

    def add(self, answer: dict[str, Any], holder: Registered, on: frozenset[object]) -> None:
        """Note a token that the server has issued."""
        text = answer["access_token"]
        own: set[object] = {text, holder.client.client_id}
        if "." in text:
            own.add(str(jws.peek(text).kid))
        self.tokens.append(Token(text, on | own, holder, self.now + answer["expires_in"]))

    async def a_client_gets_a_token(self) -> str:
        client = self.choose.choice(self.clients)
        answer = await self.server.grant(client, resource=API)
        if client.client.client_id in self.off:
            assert answer.status_code == 401
            return "refused"
        self.add(answer.json(), client, frozenset())
        return f"for {client.client.name}"

    async def an_operator_makes_an_api_token(self) -> str:
        owner = self.choose.choice(
            [self.person.username, "reports", *(one.client.client_id for one in self.clients)]
        )
        name: object = self.person.id if owner == self.person.username else owner
        if name in self.off:
            return "not for one who is switched off"
        made = await self.server.token(owner=owner, resource=API, expires_in=self.choose.choice([5, 900]))
        self.tokens.append(
            Token(made.secret, frozenset({made.token.id, name}), None, made.token.expires_at or 0)
        )
        return f"for {owner}"

    async def a_token_is_exchanged(self) -> str:
        if not self.tokens:
            return "nothing"
        by, subject = self.choose.choice(self.clients), self.choose.choice(self.tokens[-8:])
        answer = await swap(self.server, by, subject.text, audience=self.choose.choice([API, DOWN]))
        if by.client.client_id in self.off:
            assert answer.status_code == 401
        elif not self.works(subject):
            assert answer.json()["error"] == "invalid_request"
        elif answer.status_code == 200:
            self.add(answer.json(), by, subject.on)
            assert self.tokens[-1].expires_at <= subject.expires_at
        else:
            assert "too often" in answer.json()["error_description"], answer.text
        return f"by {by.client.name}: {answer.status_code}"

    async def a_client_is_switched(self) -> str:
        client = self.choose.choice(self.clients)
        name = client.client.client_id
        await switch(self.server, client, disabled=name not in self.off)
        self.off ^= {name}
        self.end(name, but_api_tokens=True)
        return client.client.name

    async def the_account_is_switched(self) -> str:
        user = self.person
        await account_changes.set_disabled(self.server.runtime, user, user.id not in self.off, actor="test")
        self.off ^= {user.id}
        self.end(user.id, but_api_tokens=True)
        return user.username

    async def a_token_is_revoked(self) -> str:
        if not self.tokens:
            return "nothing"
        token = self.choose.choice(self.tokens)
        if token.holder is None:
            (identifier,) = (str(one) for one in token.on if str(one).startswith("token_"))
            await api_tokens.revoke(self.server.runtime, identifier, actor="test")
            self.end(identifier)
        elif token.holder.client.client_id not in self.off:
            await self.server.post("/revoke", token.holder, token=token.text)
            self.end(token.text)
        return token.text[-6:]

    async def a_key_is_revoked(self) -> str:
        if self.choose.random() < 0.7:
            return "not this time"
        kid = str((await self.server.runtime.keyring.signing_key("ES256")).kid)
        await self.server.runtime.keyring.revoke(kid, actor="test")
        self.end(kid)
        return kid[:6]

    async def time_passes(self) -> str:
        seconds = self.choose.choice([1, 1, 1, 2, 3, 5, 299])
        self.server.clock.advance(seconds)
        return f"{seconds} s"

    async def follow_the_feed(self) -> None:
        """Read what ended since the last time."""
        asked = {"after": self.told.position} if self.told.position else {}
        answer = await self.server.http.get("/revocations", params=asked)
        keys = await self.server.runtime.keyring.verification_keys()
        said = jwt.decode(
            answer.text.strip(), keys, algorithms=("ES256",), typ=ended.TOKEN_TYPE, now=self.now
        )
        page = ended.read_page(said)
        assert not page.more
        self.told.apply(page, self.now)

    async def compare(self) -> None:
        """Ask everybody about each token that has not expired."""
        await self.follow_the_feed()
        for token in self.tokens:
            if self.now >= token.expires_at:
                continue
            bearer = {"authorization": f"Bearer {token.text}"}
            answer = await self.server.http.post("/introspect", data={"token": token.text}, headers=bearer)
            assert answer.json()["active"] is self.works(token), f"introspection of {token}"
            if "." not in token.text:
                continue
            claims = claims_of(token.text)
            marks = ended.marks_of(claims, jws.peek(token.text).kid)
            assert self.told.concerns(marks, claims["iat"]) is token.over, f"the feed about {token}"
            # A list tells nothing of the key that signed the token: without it, nobody accepts that.
            if str(jws.peek(token.text).kid) in await self.published():
                expected = status_list.INVALID if token.over else status_list.VALID
                assert await status_of(self.server, token.text) == expected, f"the status list about {token}"

    async def published(self) -> set[str]:
        """Return the names of the keys that are published."""
        return {str(key.kid) for key in await self.server.runtime.keyring.verification_keys()}


STEP: dict[Callable[[World], Awaitable[str]], int] = {
    World.a_client_gets_a_token: 4,
    World.an_operator_makes_an_api_token: 2,
    World.a_token_is_exchanged: 8,
    World.a_client_is_switched: 3,
    World.the_account_is_switched: 2,
    World.a_token_is_revoked: 1,
    World.a_key_is_revoked: 1,
    World.time_passes: 3,
}


@pytest.mark.parametrize("seed", [1, 5, 13, 14, 55])
async def test_what_was_made_of_what_ended_is_over_for_everybody(tmp_path: Path, seed: int) -> None:
    exchanging: dict[str, Any] = {
        "resources": [API, DOWN],
        "access_token_status": True,
        "token_exchange": {"serves": [API, DOWN], "audiences": [API, DOWN], "impersonate": True},
    }
    async with open_server(tmp_path) as server:
        clients = [
            await service(server, name=name, access_token_format=name, **exchanging)
            for name in ("jwt", "jwt", "opaque")
        ]
        person = await accounts.create(server.runtime, username="ada", actor="test")
        world = World(server, random.Random(seed), clients, person)
        for _ in range(STEPS):
            (step,) = world.choose.choices(list(STEP), list(STEP.values()))
            world.log.append(f"{step.__name__}: {await step(world)}")
            try:
                await world.compare()
            except AssertionError as error:
                error.add_note("\n".join(world.log))
                raise
        assert any(one.over for one in world.tokens)
