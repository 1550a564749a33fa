"""A file is written whole or not at all where its place can be taken, and written over where it cannot."""

import errno
import os
from pathlib import Path

import pytest

from watchword import folders


@pytest.mark.parametrize(("number", "left"), [(errno.EBUSY, b"new"), (errno.EIO, b"old")])
def test_a_file_that_is_mounted_alone_is_written_over_and_a_sick_disk_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, left: bytes
) -> None:
    file = tmp_path / "state.toml"
    folders.replace(file, b"old")
    assert file.read_bytes() == b"old"

    def refused(_source: object, _target: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "replace", refused)
    if left == b"new":
        folders.replace(file, b"new")
    else:
        with pytest.raises(OSError, match=os.strerror(number)):
            folders.replace(file, b"new")
    assert file.read_bytes() == left
    assert list(tmp_path.iterdir()) == [file]
