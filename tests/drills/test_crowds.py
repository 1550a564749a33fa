"""F-16: ten thousand sessions, with what was granted in each; they end at once and with all that came of them, and hold up nobody.

By signing in nobody has more than a hundred sessions at a time (LG-19): these were put into the database.
"""

import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from tests.drills.conftest import HEAVY, Drill
from tests.drills.crowd import gather
from tests.drills.load import hidden
from tests.drills.test_floods import honest, memory
from tests.drills.world import Node, new_world
from tests.fixtures.browser import PASSWORD

from watchword.flows.runtime import Runtime
from watchword.flows.sessions import MAX_SESSIONS
from watchword.store import limits, sessions, users
from watchword.store.database import Transaction

MEGABYTE = 2**20
NUMBER = 10_000 if HEAVY else 250  # more than one statement takes


async def counted(runtime: Runtime) -> dict[str, int]:
    """Return how much of what was put there lives, and what was recorded of its end."""

    async def count(tx: Transaction) -> dict[str, int]:
        asked = {
            "sessions": "sessions WHERE ended_at IS NULL AND id LIKE 's%'",
            "grants": "grants WHERE ended_at IS NULL",
            "session events": "events WHERE name = 'session.ended' AND data LIKE '%\"grants\":1%'",
            "grant events": "events WHERE name = 'grant.ended'",
        }
        found = {}
        for name, what in asked.items():
            row = await tx.one(f"SELECT COUNT(*) AS number FROM {what}")
            assert row is not None
            found[name] = int(row["number"])
        return found

    return await runtime.database.read(count)


def test_f_16_a_crowd_of_sessions_ends_with_all_that_came_of_it(address: str, tmp_path: Path) -> None:
    with new_world(tmp_path, address) as world:
        gather(world, NUMBER, int(time.time()))

        async def end(runtime: Runtime) -> tuple[dict[str, int], int, dict[str, int]]:
            person = await runtime.database.read(users.find_user, world.people[-1])
            assert person is not None
            before = await counted(runtime)
            ended = await runtime.database.write(
                sessions.end_sessions_of, person.id, but="s7", actor="drill", now=runtime.now()
            )
            return before, len(ended), await counted(runtime)

        before, ended, after = world.within(end)
        assert before == {
            "sessions": NUMBER,
            "grants": NUMBER,
            "session events": 0,
            "grant events": 0,
        }
        assert ended == NUMBER - 1
        assert after == {
            "sessions": 1,
            "grants": 1,
            "session events": ended,
            "grant events": ended,
        }


@pytest.fixture
def node(address: str, tmp_path: Path) -> Iterator[Node]:
    """One node of one worker, and a person with a crowd of sessions."""
    with new_world(tmp_path, address, people=3) as world:
        gather(world, NUMBER, int(time.time()))
        made = world.node()
        made.start()
        yield made


def listed(node: Node) -> int:
    """List the person's sessions page by page; return how many there are."""
    headers = {"authorization": f"Bearer {node.world.admin_token}"}
    number, cursor = 0, ""
    with httpx.Client(base_url=node.address, headers=headers, timeout=60) as http:
        while True:
            more = {"cursor": cursor} if cursor else {}
            page = http.get(
                "/api/v1/sessions", params={"user": node.world.people[-1], "limit": "100"} | more
            ).raise_for_status()
            number, cursor = number + len(page.json()["sessions"]), page.json().get("next") or ""
            if not cursor:
                return number


def sign_in(node: Node) -> httpx.Client:
    """Sign in as that person."""
    browser = httpx.Client(base_url=node.address, timeout=60)
    form = hidden(browser.get("/sign-in").text) | {"identifier": node.world.people[-1], "password": PASSWORD}
    assert browser.post("/sign-in", data=form).status_code == 303
    return browser


@pytest.mark.drill
@pytest.mark.timeout(1200)
def test_f_16_ten_thousand_sessions_hold_up_nobody(node: Node, drill: Drill) -> None:
    before, spans = memory(node), {}
    headers = {"authorization": f"Bearer {node.world.admin_token}"}
    with honest(node) as took:
        for name in ("list", "sign in", "page", "end", "again"):
            begun, seen = time.monotonic(), len(took)
            if name == "list":
                assert listed(node) == NUMBER
            elif name == "sign in":  # by the rule of a hundred, everything before the newest ends
                browser = sign_in(node)
                assert listed(node) == MAX_SESSIONS
            elif name == "page":
                assert browser.get("/account/sessions").status_code == 200
            elif name == "end":
                gather(node.world, NUMBER, int(time.time()), name="r")
                begun = time.monotonic()
                answer = httpx.post(
                    f"{node.address}/api/v1/users/{node.world.people[-1]}/sessions/end",
                    headers=headers,
                    json={},
                    timeout=60,
                )
                assert answer.status_code == 200, answer.text
                assert len(answer.json()["ended"]) == NUMBER + MAX_SESSIONS
            else:
                assert browser.get("/account/sessions").status_code == 303, "signed out"
                sign_in(node)
            spans[f"{name} took"] = time.monotonic() - begun
            spans[f"others during {name}"] = max(took[seen:], default=0.0)
    assert memory(node) - before < 100 * MEGABYTE
    drill.report(**{name.replace(" ", "_"): span for name, span in spans.items()})


@pytest.mark.drill
@pytest.mark.timeout(1200)
def test_f_16_a_purge_of_very_many_rows_is_not_noticed(node: Node, drill: Drill) -> None:
    tokens = 10
    gather(node.world, NUMBER, int(time.time()) - 400_000, tokens=tokens, lives=1000, name="old")

    async def purge(runtime: Runtime) -> tuple[int, float]:
        removed, longest = 0, 0.0
        while True:
            begun = time.process_time()
            step = await runtime.database.write(limits.purge, "access_tokens", runtime.now() - 60)
            longest, removed = max(longest, time.process_time() - begun), removed + step
            if step < limits.STEP:
                return removed, longest

    with honest(node) as took:
        removed, longest = node.world.within(purge)
    assert removed == tokens * NUMBER
    drill.report(removed=removed, cpu_of_the_longest_step=longest, others=max(took))
