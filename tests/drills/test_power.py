"""F-07: the power goes while the server writes; of what was not synced anything may be lost, torn or out of order, and nothing acknowledged is.

The database is on a disk of the drill's own (`disk`, `fuse`), which is frozen after a number of writes and syncs that the seed chooses.
"""

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil
import pytest
from tests.drills.checker import check, fits_together
from tests.drills.conftest import HEAVY, KINDS, Drill, fresh_address
from tests.drills.disk import FATES, PAGE, SECTOR, Fate, File, Folder
from tests.drills.power import LossyDisk, lossy_disk
from tests.drills.world import new_world, send
from tests.fixtures.browser import PASSWORD
from tests.fixtures.commands import environment, run_cli
from tests.fixtures.postgres import Cluster, give, initialize, new_cluster

from watchword.store import migrate

CUTS = 120 if HEAVY else 3
POSTGRES_CUTS = 30
FIRST_STARTS = 100 if HEAVY else 5


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[LossyDisk]:
    """An empty disk; skips where none can be mounted."""
    with lossy_disk(tmp_path / "disk") as made:
        yield made


def with_pragmas(folder: Path, *pragmas: str) -> Mapping[str, str]:
    """Return what makes a server use SQLite otherwise than the product does."""
    folder.mkdir()
    added = ", ".join(repr(f"PRAGMA {pragma}") for pragma in pragmas)
    (folder / "sitecustomize.py").write_text(
        f"from watchword.store.sqlite import database\ndatabase.PRAGMAS = (*database.PRAGMAS, {added})\n"
    )
    return {"PYTHONPATH": os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))}


@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    ("workers", "pragmas"),
    [
        pytest.param(1, (), id="as it is served"),
        # A checkpoint is rare otherwise; this lets many cuts come into the middle of one.
        pytest.param(2, ("wal_autocheckpoint=20",), id="with many checkpoints", marks=pytest.mark.drill),
    ],
)
def test_f_07_power_cuts_under_load_lose_nothing(
    disk: LossyDisk, drill: Drill, tmp_path: Path, workers: int, pragmas: tuple[str, ...]
) -> None:
    chance, unsynced = random.Random(7), []
    with new_world(tmp_path, str(disk.folder / "watchword.db"), ACCESS_TOKEN_LIFETIME="3600") as world:
        node = world.node(workers, **(with_pragmas(tmp_path / "site", *pragmas) if pragmas else {}))
        node.start()
        with drill.load(world, 2, seed=7) as load:
            for cut in range(CUTS):
                drill.acknowledge(10)
                disk.freeze(chance.randint(1, 60))
                disk.wait_until_frozen()
                node.kill()
                unsynced.append(disk.cut(cut))
                node.start()
                assert cut % 10 or not list(fits_together(world))
            drill.acknowledge(10)
        drill.assert_sound(world, load)
    assert any(unsynced), "there was something to lose"
    drill.report(cuts=CUTS, unsynced=sum(unsynced))


def kill_postgres(cluster: Cluster) -> None:
    """Kill every process of a cluster at once."""
    pid = int((cluster.data / "postmaster.pid").read_text().splitlines()[0])
    send(pid, signal.SIGSTOP)  # from now on it makes no process that would be missed
    family = [*psutil.Process(pid).children(recursive=True), psutil.Process(pid)]
    for process in family:
        send(process.pid, signal.SIGKILL)
    psutil.wait_procs(family, timeout=30)


# The server has to ask for lasting commits itself, for the cluster is told not to wait for them.
LASTING = ("fsync=on", "full_page_writes=on", "synchronous_commit=off")


@pytest.mark.drill
@pytest.mark.postgres
@pytest.mark.timeout(3600)
def test_f_07_power_cuts_of_the_machine_of_postgresql_lose_nothing(drill: Drill, tmp_path: Path) -> None:
    chance, unsynced = random.Random(9), 0
    with new_cluster() as cluster, lossy_disk(cluster.data) as disk:
        give(cluster.data)
        initialize(cluster)
        disk.settle()
        cluster.start(*LASTING)
        with new_world(
            tmp_path, cluster.address(), DATABASE_TIMEOUT="1", ACCESS_TOKEN_LIFETIME="3600"
        ) as world:
            world.node(2).start()
            with drill.load(world, 2, seed=9) as load:
                for cut in range(POSTGRES_CUTS):
                    drill.acknowledge(10)
                    disk.freeze(chance.randint(1, 60))
                    disk.wait_until_frozen()
                    kill_postgres(cluster)
                    unsynced += disk.cut(cut)
                    cluster.start(*LASTING)
                    world.nodes[0].wait()
                drill.acknowledge(10)
            drill.assert_sound(world, load)
        kill_postgres(cluster)
    assert unsynced, "there was something to lose"
    drill.report(cuts=POSTGRES_CUTS, unsynced=unsynced)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("pragma", ["synchronous=NORMAL", "synchronous=OFF"])
def test_f_07_the_drill_finds_what_less_syncing_loses(
    disk: LossyDisk, drill: Drill, tmp_path: Path, pragma: str
) -> None:
    with new_world(tmp_path, str(disk.folder / "watchword.db")) as world:
        node = world.node(1, **with_pragmas(tmp_path / "site", pragma))
        node.start()
        with drill.load(world, 2, seed=7) as load:
            drill.acknowledge(40)
            disk.freeze(1)
            disk.wait_until_frozen()
            node.kill()
            disk.cut(0, "nothing")
            node.start()
        found = check(world, load, drill.ledger)
    assert any(line.partition(": ")[2].startswith("I1") or line.startswith("I1") for line in found), found


class Installation:
    """A database, its key and what commands write, each in a folder of its own on the lossy disk."""

    def __init__(self, folder: Path, database: str = "") -> None:
        self.folder, self.database = folder, database or str(folder / "data" / "watchword.db")
        for name in ("", "data", "keys", "copies"):
            (folder / name).mkdir()

    @property
    def variables(self) -> dict[str, str]:
        """Return what a command on it has in its environment."""
        return {
            "WATCHWORD_DATABASE": self.database,
            "WATCHWORD_KEY_FILE": str(self.folder / "keys" / "key"),
        }

    def run(self, *arguments: str, stdin: str = "", **more: str) -> "subprocess.CompletedProcess[str]":
        """Run a command, which shows no traceback whatever the disk does."""
        # Not in a folder of the disk: the process that runs the commands would keep it.
        done = run_cli(
            self.folder.parents[1], *arguments, "--json", stdin=stdin, variables=self.variables | more
        )
        assert "Traceback" not in done.stdout + done.stderr
        return done

    def create(self, name: str) -> "subprocess.CompletedProcess[str]":
        """Create an account."""
        return self.run("user", "create", name, "--password-stdin", stdin=PASSWORD)

    def names(self, **more: str) -> set[str]:
        """Return the names of the accounts."""
        done = self.run("user", "list", **more)
        assert done.returncode == 0, done.stderr
        return {user["username"] for user in json.loads(done.stdout)["users"]}


def go_on(place: Installation, done: "subprocess.CompletedProcess[str]") -> None:
    """After a first start that was cut off the next one makes up for it, without hands."""
    again = place.create("ann")
    # What was not acknowledged may be done all the same.
    assert again.returncode == 1 if done.returncode == 0 else again.returncode in (0, 1), again.stderr
    assert place.names() == {"ann"}


@pytest.mark.timeout(1200)
def test_f_07_a_power_cut_at_the_first_start_needs_no_hands(disk: LossyDisk, drill: Drill) -> None:
    chance, acknowledged = random.Random(8), 0
    for start in range(FIRST_STARTS):
        place = Installation(disk.folder / f"start-{start}")
        disk.settle()
        disk.freeze(chance.choice((chance.randint(0, 20), chance.randint(0, 400))))
        done = place.create("ann")
        disk.cut(start)
        acknowledged += done.returncode == 0
        go_on(place, done)
    assert not HEAVY or 0 < acknowledged < FIRST_STARTS
    drill.report(starts=FIRST_STARTS, acknowledged=acknowledged)


@pytest.mark.drill
@pytest.mark.postgres
@pytest.mark.timeout(3600)
def test_f_07_a_power_cut_of_postgresql_at_the_first_start_needs_no_hands(
    drill: Drill, tmp_path: Path
) -> None:
    """Its machine goes down while the migrations run, or at the first things that are kept."""
    chance, acknowledged, unsynced = random.Random(11), 0, 0
    (tmp_path / "places").mkdir()
    with new_cluster() as cluster, lossy_disk(cluster.data) as disk:
        give(cluster.data)
        initialize(cluster)
        cluster.start(*LASTING)
        for start in range(POSTGRES_CUTS):
            cluster.sql(f"CREATE DATABASE start_{start}")
            place = Installation(tmp_path / "places" / str(start), cluster.address(f"start_{start}"))
            disk.settle()
            disk.freeze(chance.choice((chance.randint(1, 100), chance.randint(1, 1500))))
            done = place.create("ann")
            kill_postgres(cluster)
            unsynced += disk.cut(start)
            cluster.start(*LASTING)
            acknowledged += done.returncode == 0
            go_on(place, done)
            assert place.run("doctor", "--data").returncode == 0
        kill_postgres(cluster)
    assert 0 < acknowledged < POSTGRES_CUTS
    drill.report(starts=POSTGRES_CUTS, acknowledged=acknowledged, unsynced=unsynced)


# A command that dies at a fail-point; by itself only a server minds WATCHWORD_FAULT, once the database is open.
KILLED = """
import runpy, sys
from watchword.store import faults
faults.arm(sys.argv.pop(1))
runpy.run_module("watchword", run_name="__main__", alter_sys=True)
"""


@pytest.mark.drill
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", KINDS)
def test_f_07_a_first_start_that_is_killed_at_any_statement_is_made_up_for(
    kind: str, drill: Drill, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    statements = sum(len(body) for _, _, body in migrate.migrations())
    steps = range(1, statements + 1, 4)
    for step in steps:
        folder = tmp_path / f"killed-{step}"
        folder.mkdir()
        with fresh_address(kind, folder, request) as address:
            place = Installation(folder / "place", address)
            done = subprocess.run(
                [sys.executable, "-c", KILLED, f"migration.applied=exit@{step}", "user", "create", "ann", "--password-stdin"],
                cwd=folder, env=environment() | place.variables, input=PASSWORD, text=True, capture_output=True, check=False, timeout=60,
            )  # fmt: skip
            assert done.returncode == -9, done.stderr
            go_on(place, done)
    drill.report(killed=len(steps), statements=statements)


@pytest.mark.timeout(600)
def test_f_07_what_a_command_said_it_had_written_is_there(disk: LossyDisk) -> None:
    def cut() -> None:
        disk.cut(0, "nothing")

    place = Installation(disk.folder / "place")
    copies = place.folder / "copies"
    disk.settle()
    assert place.create("ann").returncode == 0
    cut()
    assert place.names() == {"ann"}
    assert place.run("backup", str(copies / "backup")).returncode == 0
    cut()
    other = {"WATCHWORD_DATABASE": str(copies / "restored.db")}
    assert place.run("restore", str(copies / "backup"), **other).returncode == 0
    cut()
    assert place.names(**other) == {"ann"}
    moved = (f"sqlite:///{other['WATCHWORD_DATABASE']}", f"sqlite:///{copies / 'moved.db'}")
    assert place.run("move", *moved).returncode == 0
    cut()
    assert place.names(WATCHWORD_DATABASE=str(copies / "moved.db")) == {"ann"}
    (copies / "word").write_text("open sesame\n")
    (copies / "word").chmod(0o600)
    disk.settle()
    secret = ("--secret", str(copies / "ann.zero"), "--passphrase-file", str(copies / "word"))
    assert place.run("zero", "create", *secret, "--out", str(copies / "ann.id")).returncode == 0
    cut()
    for name in ("ann.zero", "ann.id"):
        assert place.run("zero", "info", str(copies / name)).returncode == 0


def written(*, synced: bytes, later: bytes) -> File:
    """Return a file of which a part was synced."""
    file = File()
    file.write(0, synced)
    file.sync()
    file.write(0, later)
    return file


@pytest.mark.parametrize("fate", FATES)
def test_the_disk_keeps_what_was_synced_and_of_the_rest_what_the_fate_allows(fate: Fate) -> None:
    before, after = b"a" * 2 * PAGE, b"b" * 3 * PAGE
    grain = {"pages": PAGE, "sectors": SECTOR}.get(fate, 3 * PAGE)
    seen = set()
    for seed in range(50):
        file = written(synced=before, later=after)
        file.cut(random.Random(seed), fate)
        assert len(file.seen) in (len(before), len(after))
        for start in range(0, len(file.seen), grain):
            assert len(set(file.seen[start : start + grain])) == 1, "a piece is never torn"
        seen.add(bytes(file.seen))
        file.cut(random.Random(seed), fate)
        assert bytes(file.seen) in seen, "what came through one cut comes through the next"
    assert before in seen or fate not in ("nothing", "in order")
    assert after in seen or fate not in ("everything", "in order")
    assert len(seen) == {"nothing": 1, "everything": 1, "in order": 2}.get(fate, len(seen))
    assert len(seen) > 2 or fate not in ("pages", "sectors")


def test_the_disk_keeps_names_only_of_a_folder_that_was_synced() -> None:
    folder = Folder()
    folder.change({b"kept": 2})
    folder.sync()
    folder.change({b"kept": None, b"moved": 2})
    seen = set()
    for seed in range(20):
        copy = Folder(dict(folder.seen), dict(folder.lasting), list(folder.later))
        copy.cut(random.Random(seed), "pages")
        seen.add(tuple(copy.seen))
    assert seen == {(b"kept",), (b"moved",)}, "a file that is renamed has one name or the other"
