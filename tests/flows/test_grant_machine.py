"""RFC 6749 §4.1.2 and RFC 9700 §4.14: any sequence of what clients, thieves, people and time do to codes and refresh tokens.

The real endpoints on a real database with a virtual clock, held against a model that is nothing but the table in
`docs/explanation/refresh-tokens.md`.
"""

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
from hypothesis import HealthCheck, settings
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from tests.fixtures.code_flow import redeem, refresh, refresh_and_leave, register, request
from tests.fixtures.people import PASSWORD
from tests.fixtures.servers import Server, open_server

from watchword.flows import authorization, consents, sessions
from watchword.flows.clients.client_registry import Registered
from watchword.flows.consents import Agreed
from watchword.flows.users import accounts
from watchword.oauth import authorization as rules
from watchword.oauth.authorization import Rules
from watchword.store.sessions import Session

IDLE, LIFETIME, GRACE, CODE = 3000, 4000, 10, 60
OPTIONS = {
    "refresh_token_idle": IDLE,
    "refresh_token_lifetime": LIFETIME,
    "refresh_token_grace": GRACE,
    "session_idle": 7 * 86_400,
}
SCOPE = "openid orders:read offline_access"
NARROWER = "orders:read"


@dataclass(slots=True)
class Family:
    """What the model knows of a grant: its code, every token of its family in their order, and when things happened."""

    code: str
    began: int
    session: Session | None
    code_used: bool = False
    tokens: list[str] = field(default_factory=list)
    last_used: int = 0
    rotated: int | None = None
    dead: bool = False
    access: list[str] = field(default_factory=list)


class Machine(RuleBasedStateMachine):
    """People grant, clients redeem and refresh, thieves replay, sessions end, grants are revoked, time passes."""

    families: Bundle[Family] = Bundle("families")

    def __init__(self, runner: asyncio.Runner, server: Server, client: Registered, user_id: str) -> None:
        super().__init__()
        self.run, self.server, self.client, self.user_id = runner.run, server, client, user_id
        self.known: list[Family] = []
        self.ended: set[str] = set()

    @property
    def now(self) -> int:
        """Return the time of the model and of the server."""
        return self.server.runtime.now()

    @initialize(target=families, offline=st.booleans())
    def a_client_holds_tokens(self, offline: bool) -> Family:
        family: Family = self.run(self.agree(offline))
        self.a_code_is_presented(family, True)
        return family

    @precondition(lambda self: len(self.known) < 3)
    @rule(target=families, offline=st.booleans())
    def a_person_agrees(self, offline: bool) -> Family:
        return self.run(self.agree(offline))  # type: ignore[no-any-return]  # what the coroutine returns

    async def agree(self, offline: bool) -> Family:
        """Issue a code as the consent page does."""
        runtime = self.server.runtime
        session, _ = await sessions.begin(
            runtime, self.user_id, acr="urn:watchword:aal1", amr=("pwd",), user_agent="", address=""
        )
        scope = SCOPE if offline else SCOPE.removesuffix(" offline_access")
        asked = rules.decide(
            request(self.client, scope=scope), self.client.client, Rules(runtime.settings.resource)
        )
        agreed = Agreed(asked.scope, ())
        remember = consents.remembering(runtime, asked, self.client.client, session, agreed)
        await runtime.database.write(remember)
        code = await authorization.answer(runtime, None, asked, session, agreed)
        assert code is not None
        family = Family(code, self.now, None if offline else session)
        self.known.append(family)
        return family

    @rule(family=families, honest=st.sampled_from([True, True, False]))
    def a_code_is_presented(self, family: Family, honest: bool) -> None:
        verifier = {} if honest else {"code_verifier": "x" * 43}
        answer = self.run(redeem(self.server, self.client, family.code, **verifier))
        if not honest or self.has_ended(family):
            assert answer.json()["error"] == "invalid_grant"
        elif family.code_used:
            assert answer.json()["error"] == "invalid_grant", "a code used again ends what it bought"
            family.dead = True
        elif family.dead or self.now >= family.began + CODE:
            assert answer.json()["error"] == "invalid_grant"
            family.code_used = True
        else:
            self.take(family, answer.json())
            family.code_used, family.last_used = True, family.began

    def take(self, family: Family, answer: Any) -> None:
        """Note what a token response brought."""
        assert "error" not in answer, answer
        family.access.append(answer["access_token"])
        family.tokens.append(answer["refresh_token"])

    def has_ended(self, family: Family) -> bool:
        """Whether the session that a family stands on has ended."""
        return family.session is not None and family.session.id in self.ended

    @rule(family=families, narrower=st.booleans())
    def the_newest_refresh_token_is_presented(self, family: Family, narrower: bool) -> None:
        self.present(family, 0, narrower)

    @rule(family=families, back=st.sampled_from([1, 1, 1, 2, 3]), narrower=st.booleans())
    def an_older_refresh_token_is_presented(self, family: Family, back: int, narrower: bool) -> None:
        self.present(family, back, narrower)

    @rule(family=families)
    def a_thief_replays_and_the_client_goes_on(self, family: Family) -> None:
        self.present(family, 1, False)
        self.present(family, 0, False)

    @rule(family=families, back=st.sampled_from([0, 1, 2, 2, 3]))
    def a_request_is_worked_on_when_its_client_has_left(self, family: Family, back: int) -> None:
        self.present(family, back, False, left=True)

    @rule(family=families)
    def a_client_gives_up_asks_again_and_uses_what_it_got(self, family: Family) -> None:
        """All before the request that it gave up is worked on: F-25."""
        self.present(family, 0, False)
        self.present(family, 0, False)
        self.present(family, 2, False, left=True)

    def present(self, family: Family, back: int, narrower: bool, *, left: bool = False) -> None:
        """Present a token so many generations old, and compare what comes of it with the table."""
        if len(family.tokens) <= back:
            return
        token = family.tokens[-1 - back]
        scope = {"scope": NARROWER} if narrower else {}
        if left:
            answer = self.run(refresh_and_leave(self.server, self.client, token))
        else:
            answer = self.run(refresh(self.server, self.client, token, **scope)).json()
        expected = self.expected(family, back, left)
        if expected == "rotate":
            assert answer["refresh_token"] not in family.tokens
            assert (answer["scope"] == NARROWER) == narrower
            self.take(family, answer)
            family.rotated = family.last_used = self.now
        elif expected == "replay":
            assert answer["refresh_token"] == family.tokens[-1], "the same successor, never a second one"
            family.access.append(answer["access_token"])
        else:
            assert answer["error"] == "invalid_grant"
            family.dead = family.dead or expected == "burn"

    def expected(self, family: Family, back: int, left: bool) -> str:
        """Return the outcome that the table demands."""
        if self.has_ended(family) or family.dead:
            return "refused"
        in_grace = family.rotated is not None and abs(self.now - family.rotated) < GRACE
        if back > 1 or (back == 1 and not in_grace):
            return "abandoned" if left and in_grace else "burn"
        if self.now >= family.began + LIFETIME or self.now >= family.last_used + IDLE:
            return "expired"
        return "replay" if back else "rotate"

    @rule(family=families, which=st.integers(0, 11))
    def a_client_revokes(self, family: Family, which: int) -> None:
        if which < len(family.tokens):
            token = family.tokens[which]
            answer = self.run(self.server.post("/revoke", self.client, token=token))
            assert answer.status_code == 200
            family.dead = True

    @rule(family=families, really=st.sampled_from([False, False, False, True]))
    def a_session_ends(self, family: Family, really: bool) -> None:
        if really and family.session is not None and not self.has_ended(family):
            self.run(sessions.end(self.server.runtime, family.session))
            self.ended.add(family.session.id)

    @rule(seconds=st.sampled_from([1, 5, 5, 9, 11, 11, 59, 1500, 2999, 3001]))
    def time_passes(self, seconds: int) -> None:
        self.server.clock.advance(seconds)

    @invariant()
    def nothing_of_a_dead_family_is_alive(self) -> None:
        for family in self.known:
            if family.dead and family.access:
                seen = self.run(self.server.post("/introspect", self.client, token=family.access[-1]))
                assert seen.json() == {"active": False}


async def begin(server: Server) -> tuple[Registered, str]:
    """Make one client and one person; return them."""
    client = await register(server, scope=SCOPE, access_token_format="opaque", access_token_lifetime=86_400)
    user = await accounts.create(server.runtime, username="ada", password=PASSWORD, actor="test")
    return client, user.id


def test_codes_and_refresh_tokens_do_what_the_table_says(tmp_path: Path) -> None:
    wanted = settings(max_examples=60, stateful_step_count=40, suppress_health_check=list(HealthCheck))
    with asyncio.Runner() as runner:
        opened = open_server(tmp_path, **OPTIONS)
        server = runner.run(opened.__aenter__())
        try:
            client, user_id = runner.run(begin(server))
            run_state_machine_as_test(lambda: Machine(runner, server, client, user_id), settings=wanted)
        finally:
            runner.run(opened.__aexit__(None, None, None))
