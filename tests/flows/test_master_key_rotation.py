"""KR-04: the master key is exchanged while nodes serve; killed anywhere, by two at once, or under attack, the database keeps a key that opens it."""

import asyncio
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest
from tests.fixtures.code_flow import obtain_code, redeem, refresh, register
from tests.fixtures.postgres import Store
from tests.fixtures.servers import Server, open_server, together
from tests.store.made import execute

from watchword.flows import passkeys
from watchword.flows.databases import backup, start
from watchword.flows.databases.master_key_rotation import rotate
from watchword.flows.keyring import NONCE_KEY, Keyring
from watchword.flows.secrets import master_key, root_secret
from watchword.flows.secrets.secret import Secret
from watchword.oauth.errors import OAuthError
from watchword.settings import Settings, SettingsError
from watchword.store import keys
from watchword.store.audit import events
from watchword.store.database import StorageUnavailable, Transaction

REFUSED = "does not belong to this database"


def keys_in(path: Path) -> list[str]:
    return path.read_text().split()


def former_of(folder: Path, name: str | None) -> Path:
    return folder / f"key.old-{name}"


async def row(tx: Transaction, sealed: bytes | None = None) -> bytes:
    if sealed is not None:
        await tx.run("UPDATE secrets SET sealed = $1 WHERE name = 'root'", sealed)
    found = await keys.find_secret(tx, root_secret.NAME)
    assert found is not None
    return found


@pytest.mark.postgres
async def test_a_database_that_was_used_gets_no_fresh_key_beside_the_one_that_opens_it(
    postgres_store: Store, tmp_path: Path
) -> None:
    """A start in another folder, or without `key_file`: what it would make opens nothing, and looks like a key."""
    absent = tmp_path / "elsewhere.key"
    async with open_server(tmp_path, on=postgres_store.address) as server:
        with pytest.raises(
            SettingsError, match=r"elsewhere\.key does not: put its key file there, or set key_file"
        ):
            await start.open_runtime(msgspec.structs.replace(server.settings, key_file=str(absent)))
        assert not absent.exists()
        await server.token()


async def test_kr_04_what_was_given_out_before_goes_on_at_nodes_that_run_and_at_new_ones(
    server: Server, store: Store, tmp_path: Path
) -> None:
    client = await register(server, scope="openid offline_access orders:read")
    code = await obtain_code(server, client, scope="openid orders:read")
    given = (await redeem(server, client, code["code"])).json()
    before = keys_in(tmp_path / "key")
    rotated = await rotate(server.runtime, actor="test")
    assert keys_in(tmp_path / "key") != before
    given = (await refresh(server, client, given["refresh_token"])).json()
    assert (await server.http.get("/account")).status_code == 200
    async with open_server(tmp_path, on=store.address) as again:
        given = (await refresh(again, client, given["refresh_token"])).json()
        userinfo = {"authorization": f"Bearer {given['access_token']}"}
        assert (await again.http.get("/userinfo", headers=userinfo)).status_code == 200
        again.http.cookies = server.http.cookies
        assert (await again.http.get("/account")).status_code == 200
        old, new = server.runtime, again.runtime
        assert passkeys.user_handle(new, "ada") == passkeys.user_handle(old, "ada")
        assert new.keyring.secret(NONCE_KEY) == old.keyring.secret(NONCE_KEY)
        sealed = old.root.seal("totp", "ada", b"a second factor's key")
        assert new.root.open("totp", "ada", sealed) == b"a second factor's key"
        trail = await new.database.read(events.verify_trail, new.root.derive("audit"), 0)
        assert not trail.breaks
        assert (await again.token()).secret
    assert former_of(tmp_path, rotated.former).read_text().split() == before
    with pytest.raises(SettingsError, match=REFUSED):
        async with open_server(
            tmp_path, database=store.address, key_file=str(former_of(tmp_path, rotated.former))
        ):
            pass


async def test_kr_04_of_operators_at_once_none_leaves_the_database_without_its_key(
    server: Server, store: Store, tmp_path: Path
) -> None:
    rotated = await together(*(rotate(server.runtime, actor="test") for _ in range(4)))
    assert any(one.former for one in rotated)
    assert len(keys_in(tmp_path / "key")) == 1
    async with open_server(tmp_path, on=store.address) as again:
        assert again.runtime.root.value == server.runtime.root.value
    assert not [path for path in tmp_path.glob("key*") if path.stat().st_mode & 0o077]


@pytest.mark.parametrize(
    "attack", ["a root of the attacker's", "the row of before", "a row of another kind", "no row"]
)
async def test_kr_04_who_can_write_to_the_database_gives_the_server_no_other_root(
    server: Server, store: Store, tmp_path: Path, attack: str
) -> None:
    before = await server.runtime.database.read(row)
    rotated = await rotate(server.runtime, actor="test")
    await asyncio.sleep(0)  # what was read in this turn of the loop is of before
    honest = await server.runtime.database.read(row)
    former = Secret(bytes.fromhex(former_of(tmp_path, rotated.former).read_text()))
    own = Secret(bytes(32))
    forged = {
        "a root of the attacker's": root_secret.seal(own, former),
        "the row of before": before,
        "a row of another kind": (await server.runtime.database.read(keys.find_secret, NONCE_KEY)) or b"",
        "no row": b"",
    }[attack]

    async def remove(tx: Transaction) -> None:
        await tx.run("DELETE FROM secrets WHERE name = 'root'")

    if attack == "no row":
        await server.runtime.database.write(remove)
    else:
        await server.runtime.database.write(row, forged)
    with pytest.raises(SettingsError, match=REFUSED):
        async with open_server(tmp_path, on=store.address):
            pass
    if attack != "no row":
        await server.runtime.database.write(row, honest)
        async with open_server(tmp_path, on=store.address):
            pass


async def test_keys_from_outside_are_exchanged_by_whoever_gives_them(
    server: Server, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = keys_in(tmp_path / "key")[0], "cd" * 32
    monkeypatch.setenv(master_key.VARIABLE, old)
    with pytest.raises(SettingsError, match="add a new key after the present one"):
        await rotate(server.runtime, actor="test")
    for given in (f"{old}\n{new}\n", f"{old} {new}"):
        monkeypatch.setenv(master_key.VARIABLE, given)
        async with open_server(tmp_path, on=store.address):
            rotated = await rotate(server.runtime, actor="test")
    assert rotated.former is None, "asked again, there is nothing left to do"
    async with open_server(tmp_path, on=store.address):
        pass
    assert keys_in(tmp_path / "key") == [old], "a file that is not in use is left alone"
    for given, fits in ((new, True), (old, False)):
        monkeypatch.setenv(master_key.VARIABLE, given)
        if fits:
            async with open_server(tmp_path, on=store.address):
                pass
        else:
            with pytest.raises(SettingsError, match=REFUSED) as refused:
                async with open_server(tmp_path, on=store.address):
                    pass
            assert old not in str(refused.value)


async def test_a_file_in_a_folder_that_may_not_be_written_is_exchanged_by_whoever_gives_it(
    server: Server, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = [*keys_in(tmp_path / "key"), "cd" * 32]
    (tmp_path / "key").write_text("\n".join(both))
    read_only = os.fspath(tmp_path)
    monkeypatch.setattr(os, "access", lambda path, mode: path != read_only)  # of root as well
    rotated = await rotate(server.runtime, actor="test")
    assert rotated.former is not None
    assert (rotated.key_file, rotated.kept) == (None, ())
    assert keys_in(tmp_path / "key") == both
    for given in (both, both[1:]):
        (tmp_path / "key").write_text("\n".join(given))
        async with open_server(tmp_path, on=store.address):
            pass
    assert sorted(path.name for path in tmp_path.glob("key*")) == ["key"]


async def test_what_a_link_leads_to_is_exchanged_and_the_former_key_is_kept_beside_that(
    server: Server, store: Store, tmp_path: Path
) -> None:
    vault = tmp_path / "vault"
    vault.mkdir(0o700)
    (tmp_path / "key").rename(vault / "real")
    (tmp_path / "key").symlink_to("vault/real")
    rotated = await rotate(server.runtime, actor="test")
    assert (tmp_path / "key").is_symlink()
    assert rotated.kept == (vault / f"real.old-{rotated.former}",)
    assert sorted(path.name for path in vault.iterdir()) == ["real", f"real.old-{rotated.former}"]
    async with open_server(tmp_path, on=store.address):
        pass


@pytest.mark.parametrize("sealed", ["'text'", "5", "1.5", "''", "x''"])
async def test_a_row_that_a_broken_disk_left_is_refused_and_is_no_failure(
    tmp_path: Path, sealed: str
) -> None:
    async with open_server(tmp_path) as server:
        await server.runtime.database.write(
            execute, f"UPDATE secrets SET sealed = {sealed} WHERE name = 'root'"
        )
        with pytest.raises((SettingsError, StorageUnavailable)):
            await rotate(server.runtime, actor="test")
    with pytest.raises((SettingsError, StorageUnavailable)):
        async with open_server(tmp_path):
            pass


async def test_a_backup_is_restored_with_the_key_of_its_time_and_says_which(
    server: Server, tmp_path: Path
) -> None:
    issued = await server.token()
    now = int(time.time())
    settings = server.settings
    before = await backup.write_backup(settings, tmp_path / "before.gz", now)
    rotated = await rotate(server.runtime, actor="test")
    after = await backup.write_backup(settings, tmp_path / "after.gz", now)
    assert (before.master_key, after.master_key) == (rotated.former, rotated.master_key)
    for name, key in (("before", former_of(tmp_path, rotated.former)), ("after", tmp_path / "key")):
        elsewhere = Settings(
            database=str(tmp_path / f"{name}.db"), key_file=str(key), issuer="http://localhost"
        )
        report = await backup.restore_backup(elsewhere, tmp_path / f"{name}.gz", now)
        assert report.master_key == Secret(bytes.fromhex(key.read_text())).name
        async with open_server(tmp_path, database=elsewhere.database, key_file=str(key)) as again:
            headers = {"authorization": f"Bearer {issued.secret}"}
            assert (await again.http.get("/api/v1/tokens/self", headers=headers)).status_code == 200
    elsewhere = Settings(database=str(tmp_path / "no.db"), key_file=str(tmp_path / "key"))
    with pytest.raises(OAuthError) as refused:
        await backup.restore_backup(elsewhere, tmp_path / "before.gz", now)
    assert (
        f"{rotated.former}, under which it was made, but {rotated.master_key} was given"
        in refused.value.description
    )


async def test_a_database_of_an_earlier_release_keeps_its_master_key_as_its_root(
    store: Store, tmp_path: Path
) -> None:
    settings = Settings(database=store.address, key_file=str(tmp_path / "key"), issuer="http://localhost")
    (tmp_path / "key").write_text("ab" * 32 + "\n")
    (tmp_path / "key").chmod(0o600)
    master = Secret(bytes.fromhex("ab" * 32))
    await store.node()  # so that the file has its tables
    earlier = start.make_database(settings)
    earlier.record_under(master.derive("audit"))
    await earlier.open()
    keyring = Keyring(settings, earlier, master, time.time)
    await keyring.open()
    await backup.write_backup(settings, tmp_path / "earlier.gz", int(time.time()))
    async with open_server(tmp_path, on=store.address) as now:
        assert now.runtime.root.value == master.value, "nodes of that release go on beside"
        assert (await rotate(now.runtime, actor="test")).was_root
        assert not (await rotate(now.runtime, actor="test")).was_root
    async with open_server(tmp_path, on=store.address) as again:
        await keyring.reload()
        assert await again.runtime.keyring.jwks() == await keyring.jwks()
        trail = await again.runtime.database.read(events.verify_trail, master.derive("audit"), 0)
        assert not trail.breaks
    await earlier.close()
    (tmp_path / "first").write_text("ab" * 32 + "\n")
    (tmp_path / "first").chmod(0o600)
    restored = Settings(database=str(tmp_path / "restored.db"), key_file=str(tmp_path / "first"))
    await backup.restore_backup(restored, tmp_path / "earlier.gz", int(time.time()))


# A process that forks for every step: the child ends itself there, as by kill -9, another opens what it left, a third goes on.
SCRIPT = """
import asyncio, os, signal, sys
from pathlib import Path
from watchword.flows.databases import start, master_key_rotation
from watchword.settings import Settings
from watchword.store.copying.bulk_postgres import PostgresBulk
from watchword.store.copying.bulk_sqlite import SqliteBulk

folder = Path(sys.argv[2])
settings = Settings(database=sys.argv[1], key_file=str(folder / "key"), issuer="http://localhost")

def call(last):
    "Open the database, rotate unless `last` is None, and end before the step of that number."
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    steps = 0
    def counted(function):
        def step(*args, **kwargs):
            nonlocal steps
            steps += 1
            if steps == last:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*args, **kwargs)
        return step
    async def work():
        runtime = await start.open_runtime(settings)
        if last is not None:
            for name in ("open", "fsync", "link", "replace", "unlink"):
                setattr(os, name, counted(getattr(os, name)))
            bulk = PostgresBulk if settings.is_postgres else SqliteBulk
            for name in ("begin", "run", "commit", "rollback"):
                setattr(bulk, name, counted(getattr(bulk, name)))
            await master_key_rotation.rotate(runtime, actor="test")
        await start.close_runtime(runtime)
    try:
        asyncio.run(work())
    except BaseException as error:
        print(repr(error), flush=True)
        os._exit(1)
    os._exit(0)

assert call(None) == 0
for step in range(1, 100):
    ended = call(step)
    assert ended in (0, -signal.SIGKILL), (step, ended)
    assert call(None) == 0, f"killed before step {step}, the database has no key"
    assert all(path.stat().st_mode & 0o077 == 0 for path in folder.iterdir())
    if ended == 0:
        break
    assert call(0) == 0, f"killed before step {step}, it does not go on"
    assert len((folder / "key").read_text().split()) == 1
    assert not list(folder.glob("*.unfinished")), "what is left of a killed one holds keys"
print(step)
"""


async def test_kr_04_killed_before_any_step_the_database_has_its_key_and_the_next_call_goes_on(
    store: Store, tmp_path: Path
) -> None:
    folder = tmp_path / "data"
    folder.mkdir(0o700)
    address = store.address if store.address.startswith("postgres") else str(folder / "watchword.db")
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", SCRIPT, address, str(folder)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(re.findall(r"\d+", done.stdout)[-1]) > 15
