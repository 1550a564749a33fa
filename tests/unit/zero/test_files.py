"""Files: secrets are their owner's alone and never overwritten; every error names the file."""

import os
import stat
from pathlib import Path
from typing import Any

import pytest
from tests.fixtures.disks import no_file_may_grow_beyond

from watchword.credentials.zkproof import ZeroError
from watchword.zero import files, revocation, sealing
from watchword.zero.records import Challenge, Identity, Secret


@pytest.fixture
def secret_file(holder: Any, tmp_path: Path) -> Path:
    path = tmp_path / "ada.secret"
    files.write_record(str(path), sealing.seal(holder.secret, "word", b"s" * 16, b"n" * 24, 1, 8), "text")
    return path


def test_a_secret_file_is_its_owners_alone(secret_file: Path) -> None:
    assert stat.S_IMODE(secret_file.stat().st_mode) == 0o600
    assert sealing.unseal(files.read_sealed(str(secret_file)), "word")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o660, 0o777], ids=oct)
def test_a_secret_file_that_others_can_reach_is_refused(secret_file: Path, mode: int) -> None:
    secret_file.chmod(mode)
    with pytest.raises(ZeroError, match=r"ada\.secret.*chmod 600") as error:
        files.read_sealed(str(secret_file))
    assert error.value.reason == "permissions"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_secret_file_of_another_user_is_refused(secret_file: Path) -> None:
    os.chown(secret_file, 12345, 12345)
    with pytest.raises(ZeroError, match="another user"):
        files.read_sealed(str(secret_file))


def test_a_secret_file_is_never_overwritten(holder: Any, secret_file: Path) -> None:
    before = secret_file.read_bytes()
    with pytest.raises(ZeroError, match=r"ada\.secret: File exists"):
        files.write_record(
            str(secret_file), sealing.seal(holder.secret, "w", b"s" * 16, b"n" * 24, 1, 8), "text"
        )
    assert secret_file.read_bytes() == before


def test_on_a_full_disk_the_file_from_before_stays_and_no_half_of_a_secret(
    holder: Any, tmp_path: Path
) -> None:
    public, private = tmp_path / "ada.id", tmp_path / "ada.secret"
    sealed = sealing.seal(holder.secret, "word", b"s" * 16, b"n" * 24, 1, 8)
    files.write_record(str(public), holder.identity, "text")
    before = public.read_bytes()
    with no_file_may_grow_beyond(50):
        for path, record in ((public, holder.identity), (private, sealed)):
            with pytest.raises(ZeroError, match=rf"{path.name}: File too large"):
                files.write_record(str(path), record, "json")
    assert public.read_bytes() == before
    assert list(tmp_path.iterdir()) == [public]
    files.write_record(str(private), sealed, "text")
    files.write_record(str(public), holder.identity, "json")
    assert files.read_record(str(public), Identity) == holder.identity


def test_the_secret_is_not_in_the_file(holder: Any, secret_file: Path) -> None:
    for form in ("text", "json", "binary"):
        data = files.dump(files.read_sealed(str(secret_file)), form)
        assert holder.secret.seed not in data
        assert b"ada@" not in data


@pytest.mark.parametrize(
    "path", ["missing", "a\x00b", ".", "x" * 5000], ids=["missing", "NUL", "a folder", "too long"]
)
def test_errors_name_the_file(tmp_path: Path, path: str) -> None:
    with pytest.raises(ZeroError) as error:
        files.read_record(str(tmp_path / path), Identity)
    assert str(tmp_path) in str(error.value)
    assert error.value.reason == "file"


def test_a_wrong_kind_of_file_is_named_and_explained(holder: Any, tmp_path: Path) -> None:
    path = tmp_path / "file"
    files.write_record(str(path), holder.identity, "json")
    with pytest.raises(ZeroError, match="file: not a challenge"):
        files.read_record(str(path), Challenge)


def test_a_registry_grows_and_is_read_back(holder: Any, tmp_path: Path) -> None:
    path = str(tmp_path / "revoked")
    secrets = [holder.secret, Secret(b"o" * 32, ())]
    made = [revocation.revoke(secret, 1, "retired", b"r" * 32) for secret in secrets]
    for record in made:
        files.append_revocation(path, record)
    assert files.read_revocations(path) == {record.public for record in made}


def test_a_registry_whose_last_line_an_editor_left_open_takes_one_more(holder: Any, tmp_path: Path) -> None:
    path, secrets = tmp_path / "revoked", [holder.secret, Secret(b"o" * 32, ())]
    made = [revocation.revoke(secret, 1, "retired", b"r" * 32) for secret in secrets]
    files.append_revocation(str(path), made[0])
    path.write_bytes(path.read_bytes().rstrip(b"\n"))
    files.append_revocation(str(path), made[1])
    assert files.read_revocations(str(path)) == {record.public for record in made}


@pytest.mark.parametrize("form", ["text", "json", "binary"])
def test_one_revocation_is_a_registry_too(holder: Any, tmp_path: Path, form: files.Format) -> None:
    path = str(tmp_path / "revoked")
    files.write_record(path, revocation.revoke(holder.secret, 1, "retired", b"r" * 32), form)
    assert files.read_revocations(path) == {holder.identity.public}


@pytest.mark.parametrize("form", ["text", "json", "binary"])
def test_what_is_no_registry_takes_no_revocation(holder: Any, tmp_path: Path, form: files.Format) -> None:
    """With one line more, a revocation that verifiers read would be a registry that none can read."""
    path, other = tmp_path / "revoked", revocation.revoke(Secret(b"o" * 32, ()), 1, "retired", b"r" * 32)
    files.append_revocation(str(path), other)
    for record in (revocation.revoke(holder.secret, 1, "retired", b"r" * 32), holder.identity):
        files.write_record(str(path), record, form)
        before = path.read_bytes()
        with pytest.raises(ZeroError, match="revoked: not a registry") as error:
            files.append_revocation(str(path), other)
        assert (error.value.reason, path.read_bytes()) == ("registry", before)


def test_a_registry_that_is_missing_or_damaged_stops_verification(tmp_path: Path) -> None:
    """An unreadable registry must not mean that nothing is revoked."""
    with pytest.raises(ZeroError, match="No such file"):
        files.read_revocations(str(tmp_path / "missing"))
    (tmp_path / "damaged").write_bytes(b"\xff\n")
    with pytest.raises(ZeroError, match="damaged"):
        files.read_revocations(str(tmp_path / "damaged"))
