"""The folder that the workers of one server share: gone with it, and with the next start where it was killed."""

import os
import tempfile
from pathlib import Path

import pytest

from watchword.telemetry import workers


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for temporary files of its own."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def leave(folder: Path, name: str) -> Path:
    """Make what a server that was killed leaves behind."""
    left = folder / f"{workers.NAMED}{name}"
    left.mkdir(0o700)
    (left / "1.json").write_text("{}")
    return left


def test_a_start_removes_what_a_killed_server_has_left_and_leaves_the_folder_of_one_that_lives(
    temporary: Path,
) -> None:
    with workers.folder() as living:
        (Path(living) / "2.json").write_text("{}")
        left = leave(temporary, "left")
        with workers.folder() as own:
            assert not left.exists()
            assert (Path(living) / "2.json").exists()
            assert Path(own).stat().st_mode & 0o777 == 0o700
    assert list(temporary.iterdir()) == []


def test_a_start_removes_nothing_that_another_user_or_a_link_has_put_there(temporary: Path) -> None:
    (elsewhere := temporary / "elsewhere").mkdir()
    (elsewhere / "kept").touch()
    (temporary / f"{workers.NAMED}link").symlink_to(elsewhere)
    (temporary / f"{workers.NAMED}file").touch()
    theirs = leave(temporary, "theirs")
    if os.geteuid() == 0:
        os.chown(theirs, 65_534, 65_534)
    with workers.folder():
        pass
    left = {path.name.removeprefix(workers.NAMED) for path in temporary.iterdir()}
    assert left == {"elsewhere", "link", "file"} | ({"theirs"} if os.geteuid() == 0 else set())
    assert (elsewhere / "kept").exists()


@pytest.mark.parametrize("put", ["nothing", "a link", "a folder"])
def test_a_folder_that_went_before_it_was_held_is_made_again_whoever_took_its_name(
    temporary: Path, monkeypatch: pytest.MonkeyPatch, put: str
) -> None:
    # Another start of this user takes it for a stale one, and somebody who waits for that takes the name: what workers wrote there could
    # be turned into a file of this user's anywhere.
    if put == "a folder" and os.geteuid() != 0:
        pytest.skip("needs root, to make a folder of another user's")
    (elsewhere := temporary / "elsewhere").mkdir()
    make, made = tempfile.mkdtemp, list[str]()

    def make_and_lose(*, prefix: str) -> str:
        made.append(make(prefix=prefix))
        if len(made) == 1:
            os.rmdir(made[0])
            if put == "a link":
                os.symlink(elsewhere, made[0])
            elif put == "a folder":
                os.mkdir(made[0], 0o777)
                os.chown(made[0], 65_534, 65_534)
        return made[-1]

    monkeypatch.setattr(tempfile, "mkdtemp", make_and_lose)
    with workers.folder() as own:
        assert own == made[1]
        assert Path(own).stat().st_uid == os.geteuid()
    assert not Path(own).exists()
    assert os.path.lexists(made[0]) is (put != "nothing")
