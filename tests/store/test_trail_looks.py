"""The audit trail is looked through a stretch at a time, for what no index is kept of."""

from typing import Any

import pytest
from tests.store.made import NOW, execute, note

from watchword.store.audit import events
from watchword.store.database import Database


@pytest.mark.parametrize(
    ("asked", "looks"),
    [
        pytest.param({"name": "test.rare"}, 4, id="by name"),
        pytest.param({"actors": ["rare"]}, 4, id="by actor"),
        pytest.param({"actors": ["rare"], "target": "about"}, 2, id="by actor, about something"),
        pytest.param({"target": "about"}, 1, id="about something, which has an index"),
        pytest.param({}, 1, id="all of them"),
    ],
)
async def test_what_is_rare_is_found_in_several_looks_each_as_long_as_the_others(
    database: Database, asked: dict[str, Any], looks: int
) -> None:
    for n in range(20):
        await database.write(note, "about" if n % 2 else "another", NOW + n // 3)
    rare = "UPDATE events SET name = 'test.rare', actor = 'rare' WHERE seq = 2"
    await database.write(execute, rare)
    found: list[str] = []
    place, looked = "", 0
    while place is not None:
        before = events.position_of(place)
        look = await database.read(events.look_back, limit=50, before=before, looked=6, **asked)
        found += [event.id for event in look.events]
        place, looked = look.rest, looked + 1
    expected = await database.read(events.list_events, limit=50, **asked)
    assert (found, looked) == ([event.id for event in expected], looks)
