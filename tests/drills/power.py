"""A disk whose power can be cut: the file system of `tests.drills.fuse`, in a process of its own."""

import contextlib
import os
import select
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.drills.disk import FATES, Fate

PATIENCE = 60.0
HOW = "needs /dev/fuse, the right to mount, and fusermount3 (Debian: apt-get install fuse3)"


@dataclass(slots=True)
class LossyDisk:
    """A mounted disk."""

    folder: Path
    process: "subprocess.Popen[bytes]"

    def freeze(self, after: int) -> None:
        """Let so many more writes and syncs be made, and none from then on."""
        self._tell(f"freeze {after}")

    def wait_until_frozen(self) -> None:
        """Wait until the last of them was made."""
        assert self._heard() == "frozen"

    def cut(self, seed: int, fate: Fate | None = None) -> int:
        """Cut the power and give it back; return how many changes were not synced. Nothing may have a file open that is still needed."""
        self._tell(f"cut {seed} {FATES.index(fate) if fate else ''}")
        answer = self._heard()
        return int(self._heard() if answer == "frozen" else answer)

    def settle(self) -> None:
        """Make everything last that is there."""
        self._tell("settle")
        assert self._heard() == "settled"

    def is_there(self) -> bool:
        """Whether it could be mounted."""
        return self._heard() == "ready"

    def _tell(self, command: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(command.encode() + b"\n")

    def _heard(self) -> str:
        """Return the next answer; empty when the disk has ended instead."""
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], PATIENCE)
        assert ready, "the disk does not answer"
        return self.process.stdout.readline().decode().strip()


@contextlib.contextmanager
def lossy_disk(folder: Path) -> Iterator[LossyDisk]:
    """Mount an empty disk until the block ends; skip where none can be mounted."""
    if shutil.which("fusermount3") is None or not os.access("/dev/fuse", os.R_OK | os.W_OK):
        pytest.skip(f"a disk whose power can be cut {HOW}")
    folder.mkdir()
    root = Path(__file__).parents[2]
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.drills.fuse", str(folder)],
        cwd=root, bufsize=0, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        start_new_session=True,  # what interrupts the drill must leave it the time to unmount
    )  # fmt: skip
    assert process.stdin is not None
    with process:
        disk = LossyDisk(folder, process)
        if not disk.is_there():
            pytest.skip(f"a disk whose power can be cut {HOW}")
        try:
            yield disk
        finally:
            process.stdin.close()
            process.wait(PATIENCE)
