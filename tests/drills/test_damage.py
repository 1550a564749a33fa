"""F-06: copies of a database that were damaged by seed: a server on one refuses, answers 503, or tells what is so; it never fails and begins nothing anew."""

import contextlib
import json
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest
from tests.drills.conftest import HEAVY, Drill
from tests.drills.ledger import Ledger
from tests.drills.load import Load
from tests.drills.mutants import NAME, OF_THE_FILE, OF_THE_LOG, Damage, Found, Known, copy
from tests.drills.world import World, new_world
from tests.fixtures.commands import environment, run_cli

OF_EACH = 100 if HEAVY else 2
USED = 300 if HEAVY else 80  # operations that were acknowledged at each moment


@dataclass(slots=True)
class Originals:
    """The database before (as it was copied earlier), with its log not merged yet, and after a clean stop."""

    folder: Path
    process: "subprocess.Popen[str]"

    def examine(self, mutant: Path) -> Found:
        """Have a damaged copy examined by a process that may crash."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(mutant, file=self.process.stdin, flush=True)
        code = int(self.process.stdout.readline())
        shown = (mutant / "shown").read_text()
        assert code == 0, f"ended with {code}: {shown}"
        assert "Traceback" not in shown, shown
        return Found(**json.loads((mutant / "found.json").read_text()))

    def diagnose(self, mutant: Path) -> list[str]:
        """Return what `watchword doctor --data` says of a copy of a damaged copy."""
        again = copy(mutant, mutant.with_name(f"{mutant.name}-again"))
        variables = {"WATCHWORD_DATABASE": str(again / NAME), "WATCHWORD_KEY_FILE": str(again / "key")}
        done = run_cli(self.folder, "doctor", "--data", "--json", variables=variables)
        assert "Traceback" not in done.stderr, done.stderr
        findings = json.loads(done.stdout)["findings"]
        return [finding["message"] for finding in findings if finding["level"] == "broken"]


def know(world: World, load: Load) -> Known:
    """Return what the load knows for certain."""
    walkers = load.walkers
    families = [family for walker in walkers for family in walker.families if family.certain]
    api_tokens = [token for walker in walkers for token in walker.api_tokens.values()]
    return Known(
        issuer=world.issuer,
        client=(world.client_id, world.client_secret),
        admin_token=world.admin_token,
        people=world.people,
        tokens=[(family.access[-1], family.alive) for family in families[-40:]]
        + [(token, False) for family in families for token in family.revoked][-20:],
        api_tokens=[(token, alive) for token, alive in api_tokens if alive is not None][-20:],
        refresh_tokens=[(family.refresh, family.alive) for family in families[-20:]],
    )


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Originals]:
    """A database that people and clients used, at three moments."""
    place = tmp_path_factory.mktemp("damage")
    folder, drill = place / "originals", Drill(place, Ledger(place / "ledger.jsonl"), None)
    folder.mkdir()
    # What expires before the last copy is examined would be refused whatever was damaged.
    with new_world(place, ACCESS_TOKEN_LIFETIME="86400") as world, contextlib.closing(drill.ledger):
        node = world.node()
        node.start()
        with drill.load(world, 2, seed=20) as load:
            drill.acknowledge(USED)
            node.stop()
            copy(place, folder / "before")
            node.start()
            drill.acknowledge(USED)
        node.kill()
        copy(place, folder / "unmerged")
        assert (folder / "unmerged" / f"{NAME}-wal").stat().st_size
        assert world.run("doctor", "--data").returncode == 0
        copy(place, folder / "after")
        (folder / "known.json").write_bytes(msgspec.json.encode(know(world, load)))
    with subprocess.Popen(
        [sys.executable, "-m", "tests.drills.mutants"],
        cwd=Path(__file__).parents[2], env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        yield Originals(folder, process)
        assert process.stdin is not None
        process.stdin.close()


def outcome(originals: Originals, original: str, damage: Damage, file: str, seed: str) -> str:
    """Damage a copy, check what nobody may ever see, and say in a word what became of it."""
    mutant = copy(originals.folder / original, originals.folder / seed)
    damage(random.Random(seed), mutant / file, originals.folder / "before")
    named = originals.diagnose(mutant)
    found = originals.examine(mutant)
    assert not found.failed, found
    if found.refused:
        said = (NAME, "master key", "watchword doctor --data")
        assert any(words in found.refused for words in said), found.refused
        assert named, "what does not start is named by doctor, too"
        return "refused"
    # A new database takes nothing: it would be right about what is dead, and about nothing else.
    is_ours = found.right > found.known_dead or found.revived or found.unavailable
    assert is_ours, f"it is another database: {found}"
    if found.revived and original == "after":
        assert named, f"what was revoked lives, and doctor finds nothing: {found}"
    wrong = [word for word in ("revived", "denied", "changed") if getattr(found, word)]
    return " and ".join(wrong or ["right"]) + (", named by doctor" if named else "")


@pytest.mark.timeout(7200)
@pytest.mark.parametrize(
    ("original", "file", "kinds"),
    [
        pytest.param("after", NAME, OF_THE_FILE, id="the file"),
        pytest.param("unmerged", f"{NAME}-wal", OF_THE_LOG, id="the write-ahead log"),
    ],
)
def test_f_06_a_damaged_copy_is_refused_or_named_or_right(
    originals: Originals, drill: Drill, original: str, file: str, kinds: dict[str, Damage]
) -> None:
    sound = copy(originals.folder / original, originals.folder / f"sound {original}")
    assert not originals.diagnose(sound)
    found = originals.examine(sound)
    assert found == Found(known_dead=found.known_dead, right=found.right), "it is sound before it is damaged"
    tally: Counter[tuple[str, str]] = Counter()
    for number in range(OF_EACH):
        for kind, damage in kinds.items():
            tally[kind, outcome(originals, original, damage, file, f"{kind} {number}")] += 1
        if (number + 1) % 10 == 0:
            drill.say("\n".join(f"{count:5} {kind}: {what}" for (kind, what), count in sorted(tally.items())))
