"""Drills run on both databases; the heavy ones only where `make drills` asks for them."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.drills.checker import check
from tests.drills.ledger import Ledger
from tests.drills.load import Load
from tests.drills.world import World
from tests.fixtures.postgres import NUMBERS, Cluster

HEAVY = bool(os.environ.get("WATCHWORD_REQUIRE_DRILLS"))


@pytest.fixture(
    params=[
        pytest.param("sqlite", id="sqlite"),
        pytest.param("postgres", id="postgres", marks=pytest.mark.postgres),
    ]
)
def address(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The address of a fresh database of each kind."""
    if request.param == "sqlite":
        yield str(tmp_path / "watchword.db")
        return
    cluster: Cluster = request.getfixturevalue("postgres_cluster")
    name = f"drill_{next(NUMBERS)}"
    cluster.sql(f"CREATE DATABASE {name}")
    yield cluster.address(name)
    cluster.sql(f"DROP DATABASE {name} WITH (FORCE)")


@dataclass(slots=True)
class Drill:
    """One drill: its ledger, and what its checks found."""

    folder: Path
    ledger: Ledger

    def load(self, world: World, walkers: int, seed: int) -> Load:
        """Return the load, to be entered."""
        return Load(world, self.ledger, walkers, seed)

    def assert_sound(self, world: World, load: Load) -> None:
        """Check every invariant, and that there was something to check."""
        assert self.ledger.counts().get("acked", 0) > 20, self.ledger.counts()
        found = check(world, load, self.ledger)
        assert not found, "\n".join(found[:20])


@pytest.fixture
def drill(tmp_path: Path) -> Iterator[Drill]:
    """A drill with an empty ledger, which is kept apart from what is searched for secrets."""
    folder = tmp_path / "drill"
    folder.mkdir()
    ledger = Ledger(folder / "ledger.jsonl")
    yield Drill(folder, ledger)
    ledger.close()
