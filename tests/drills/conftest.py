"""Drills run on both databases; the heavy ones only where `make drills` asks for them."""

import contextlib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.drills.checker import check
from tests.drills.ledger import Ledger
from tests.drills.load import Load
from tests.drills.world import World
from tests.fixtures.postgres import NUMBERS, Cluster

HEAVY = "WATCHWORD_DRILLS" in os.environ
ENOUGH = 40 if HEAVY else 15  # operations that were acknowledged, for a fault to have something to break


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the heavy ones out unless they are asked for: `make drills` runs them."""
    heavy = [] if HEAVY else [item for item in items if item.get_closest_marker("drill")]
    if heavy:
        config.hook.pytest_deselected(items=heavy)
        items[:] = [item for item in items if item not in heavy]


KINDS = [
    pytest.param("sqlite", id="sqlite"),
    pytest.param("postgres", id="postgres", marks=pytest.mark.postgres),
]


@contextlib.contextmanager
def fresh_address(kind: str, folder: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """Give the address of a fresh database of a kind."""
    if kind == "sqlite":
        yield str(folder / "watchword.db")
        return
    cluster: Cluster = request.getfixturevalue("postgres_cluster")
    name = f"drill_{next(NUMBERS)}"
    cluster.sql(f"CREATE DATABASE {name}")
    yield cluster.address(name)
    cluster.sql(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(params=KINDS)
def address(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The address of a fresh database of each kind."""
    with fresh_address(request.param, tmp_path, request) as made:
        yield made


@dataclass(slots=True)
class Drill:
    """One drill: its ledger, and what its checks found."""

    folder: Path
    ledger: Ledger
    capture: Any

    def load(self, world: World, walkers: int, seed: int) -> Load:
        """Return the load, to be entered."""
        return Load(world, self.ledger, walkers, seed)

    def acknowledge(self, number: int = ENOUGH, patience: float = 90.0) -> None:
        """Wait until so many more operations were acknowledged, however slow the machine is."""
        wanted = self.ledger.counts().get("acked", 0) + number
        deadline = time.monotonic() + patience
        while self.ledger.counts().get("acked", 0) < wanted:
            assert time.monotonic() < deadline, self.ledger.counts()
            time.sleep(0.05)

    def report(self, **figures: float) -> None:
        """Say what was done, for docs/reliability.md."""
        self.say(" ".join(f"{name}={value:.4g}" for name, value in (figures | self.ledger.counts()).items()))

    def say(self, line: str) -> None:
        """Print a line now, whatever pytest does with output."""
        with self.capture.global_and_fixture_disabled():
            print(f"\ndrill {self.folder.parent.name}: {line}", flush=True)

    def violations(self, world: World, load: Load) -> list[str]:
        """Check every invariant, and that there was something to check; return what does not hold."""
        assert self.ledger.counts().get("acked", 0) >= ENOUGH, self.ledger.counts()
        return check(world, load, self.ledger, sample=200 if HEAVY else 6)

    def assert_sound(self, world: World, load: Load) -> None:
        """Fail with what does not hold."""
        found = self.violations(world, load)
        assert not found, "\n".join(found[:20])


@pytest.fixture
def drill(tmp_path: Path, pytestconfig: pytest.Config) -> Iterator[Drill]:
    """A drill with an empty ledger, which is kept apart from what is searched for secrets."""
    folder = tmp_path / "drill"
    folder.mkdir()
    ledger = Ledger(folder / "ledger.jsonl")
    yield Drill(folder, ledger, pytestconfig.pluginmanager.getplugin("capturemanager"))
    ledger.close()
