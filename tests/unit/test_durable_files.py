"""A file is written whole or not at all where its place can be taken, and written over where it cannot."""

import errno
import os
from pathlib import Path

import pytest

from watchword import durable_files


@pytest.mark.parametrize(("number", "left"), [(errno.EBUSY, b"new"), (errno.EIO, b"old")])
def test_a_file_that_is_mounted_alone_is_written_over_and_a_sick_disk_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, left: bytes
) -> None:
    file = tmp_path / "state.toml"
    durable_files.replace(file, b"old")
    assert file.read_bytes() == b"old"

    def refused(_source: object, _target: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "replace", refused)
    if left == b"new":
        durable_files.replace(file, b"new")
    else:
        with pytest.raises(OSError, match=os.strerror(number)):
            durable_files.replace(file, b"new")
    assert file.read_bytes() == left
    assert list(tmp_path.iterdir()) == [file]


def test_where_there_are_no_hard_links_a_new_file_is_named_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sticks and many network drives have none."""
    first, second = (durable_files.write_beside(tmp_path / "key", data) for data in (b"first", b"second"))

    def refused(_source: object, _target: object) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", refused)
    durable_files.name_new(first, tmp_path / "key")
    with pytest.raises(FileExistsError):
        durable_files.name_new(second, tmp_path / "key")
    assert (tmp_path / "key").read_bytes() == b"first"
    monkeypatch.setattr(os, "replace", refused)
    with pytest.raises(PermissionError):
        durable_files.name_new(second, tmp_path / "other")
    assert not (tmp_path / "other").exists()
