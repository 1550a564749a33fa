"""Backup and restore: the whole database as one portable, checksummed file, the same for SQLite and PostgreSQL.

Theory of operation. A backup is one consistent snapshot of all tables, taken while others write. The file is gzip-compressed JSON
lines: a head; the rows of each table in key order, followed by their number and SHA-256; and an end with an HMAC over everything. The
HMAC's key is derived from the root secret, which is among the rows, sealed under the master key of that time. So a damaged, truncated
or forged file is recognised before the database is touched. A restore is one transaction, the creation of the tables included.

A restore brings back the past: what was revoked after the backup would be valid again. It therefore ends everything that may have been
revoked since: sessions, grants with their refresh tokens, access tokens, codes, links. Single-use values that may have been used since
(client assertions, DPoP proofs, challenges) count as used. API tokens stay valid unless they are to be ended too.
"""

import contextlib
import gzip
import hashlib
import hmac
import os
import secrets
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Annotated

import msgspec

from watchword import __version__
from watchword.durable_files import name_new, settle
from watchword.flows.databases import schema_state
from watchword.flows.secrets import root_secret
from watchword.flows.secrets.key_file import Keys
from watchword.flows.secrets.master_key import existing_master_keys
from watchword.flows.secrets.root_secret import Opened
from watchword.flows.secrets.secret import Secret
from watchword.oauth.errors import OAuthError
from watchword.settings import Settings, SettingsError
from watchword.store import schema
from watchword.store.copying import bulk as store
from watchword.store.copying import opening, restoring
from watchword.store.copying.bulk import Bulk
from watchword.store.database import StorageUnavailable
from watchword.store.schema import Table

FORMAT = 1
PURPOSE = "backup"
MAX_LINE = 64 << 20


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """The first line: what this file is."""

    watchword_backup: int
    schema_version: int
    created_at: int
    version: str
    # The name of the master key that it needs.
    master_key: Annotated[str, msgspec.Meta(pattern=r"^([0-9a-f]{8})?\Z")] = ""


class TableEnd(msgspec.Struct, frozen=True):
    """The line after the last row of a table."""

    table: str
    rows: int
    sha256: str


class End(msgspec.Struct, frozen=True, kw_only=True):
    """The last line: it vouches that everything above it, and nothing else, was written."""

    tables: int
    rows: int
    hmac: str


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What a backup holds; times are Unix seconds."""

    schema_version: int
    created_at: int
    tables: dict[str, int]
    rows: int
    master_key: str


class _Writer:
    """Lines into a compressed file, with a running hash of everything."""

    def __init__(self, stream: gzip.GzipFile) -> None:
        self._stream = stream
        self.digest = hashlib.sha256()

    def line(self, data: bytes) -> None:
        self.digest.update(data + b"\n")
        self._stream.write(data + b"\n")


async def write_backup(settings: Settings, path: Path, now: int) -> Report:
    """Write a backup of the database, readable by the owner only; nothing is at `path` until it is complete and on disk.

    Raises OAuthError, SettingsError or StorageUnavailable.
    """
    # First: in a wrong folder the missing database is the better message than a missing key
    await schema_state.require(settings)
    masters = existing_master_keys(settings)
    bulk = await opening.open_bulk(settings.database)
    try:
        with _new_file(path) as file:
            with gzip.GzipFile(fileobj=file, mode="wb", mtime=0, compresslevel=6) as stream:
                await bulk.begin(snapshot=True)
                report = await _write(bulk, _Writer(stream), masters, now)
            await bulk.rollback()
        await _note(bulk, path, report, now)
    finally:
        await bulk.close()
    return report


async def _note(bulk: Bulk, path: Path, report: Report, now: int) -> None:
    try:
        await bulk.begin()
        await bulk.record(
            "database.backed_up", actor="command line", target=_name(path), at=now, rows=report.rows
        )
        await bulk.commit()
    except StorageUnavailable as error:  # on a full disk or a standby a backup is wanted most
        reason = (
            f"{path} is complete and can be restored, but the audit trail does not tell of it: {error.reason}"
        )
        raise StorageUnavailable(reason, unknown=error.unknown) from error


async def _write(bulk: Bulk, out: _Writer, masters: Keys, now: int) -> Report:
    version = await store.schema_version(bulk)
    if not version:
        raise OAuthError("not_found", "There is no database of Watchword to back up.")
    # Fails with a master key that is not this database's: nobody could restore such a backup.
    known = await root_secret.existing(bulk, masters)
    bulk.record_under(known.root.derive("audit"))
    head = Head(
        watchword_backup=FORMAT,
        schema_version=version,
        created_at=now,
        version=__version__,
        master_key=known.master.name,
    )
    out.line(_encode(head))
    counts: dict[str, int] = {}
    for table in schema.tables(version):
        digest, counts[table.name] = hashlib.sha256(), 0
        async for rows in store.walk(bulk, table):
            for row in rows:
                line = store.encode_row(row)
                digest.update(line + b"\n")
                out.line(line)
            counts[table.name] += len(rows)
        out.line(_encode(TableEnd(table.name, counts[table.name], digest.hexdigest())))
    total = sum(counts.values())
    out.line(_encode(End(tables=len(counts), rows=total, hmac=_hmac(known.root, out.digest.digest()))))
    return Report(
        schema_version=version, created_at=now, tables=counts, rows=total, master_key=known.master.name
    )


def read_backup(path: Path, masters: Keys) -> tuple[Report, Secret]:
    """Check every line of a backup and return what it holds, and its root secret; raise OAuthError when it is damaged, truncated or forged."""
    with _told(path):
        return _read(path, masters)


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    """Say of a backup that cannot be read what is wrong with it."""
    try:
        yield
    except EOFError:
        raise _damaged("it is cut off") from None
    except (gzip.BadGzipFile, zlib.error):
        raise _damaged("it is damaged, or no file of `watchword backup`") from None
    except OSError as error:
        raise OAuthError("invalid_request", f"{path} cannot be read: {error.strerror}.") from error
    except ValueError as error:  # msgspec's errors are among them
        raise _damaged(str(error) or type(error).__name__) from error


def _read(path: Path, masters: Keys) -> tuple[Report, Secret]:
    digest = hashlib.sha256()
    lines = _lines(path)
    first = next(lines, b"")
    digest.update(first + b"\n")
    head = _head(first)
    counts: dict[str, int] = {}
    known = None
    for table in schema.tables(head.schema_version):
        rows = hashlib.sha256()
        n = 0
        for line in lines:
            digest.update(line + b"\n")
            if line.startswith(b"{"):
                break
            rows.update(line + b"\n")
            n += 1
            if table.name == "secrets":
                known = _root(head, table, line, masters) or known
        else:
            raise _damaged("it is cut off")
        if msgspec.json.decode(line, type=TableEnd) != TableEnd(table.name, n, rows.hexdigest()):
            raise _damaged(f"the rows of {table.name} are not what was written")
        counts[table.name] = n
    end = msgspec.json.decode(next(lines, b""), type=End)
    known = known or _master_as_root(end, digest.digest(), masters)
    if known is None or not _is_whole(end, digest.digest(), known.root):
        raise _damaged("it was changed, or the master key is not the one that it was made with")
    if (end.tables, end.rows) != (len(counts), sum(counts.values())) or next(lines, None) is not None:
        raise _damaged("its end is not where it should be")
    report = Report(
        schema_version=head.schema_version,
        created_at=head.created_at,
        tables=counts,
        rows=end.rows,
        master_key=known.master.name,
    )
    return report, known.root


def _root(head: Head, table: Table, line: bytes, masters: Keys) -> Opened | None:
    row = dict(zip(table.columns, store.decode_row(table, line), strict=True))
    sealed = row["sealed"]
    if row["name"] != root_secret.NAME or not isinstance(sealed, bytes):
        return None
    try:
        return root_secret.open_row(sealed, masters)
    except SettingsError:
        given = " or ".join(master.name for master in masters)
        raise _damaged(
            f"it needs the master key {head.master_key}, under which it was made, but {given} was given"
        ) from None


def _master_as_root(end: End, digest: bytes, masters: Keys) -> Opened | None:
    """Return the root secret of a backup of an earlier release, which is the master key itself."""
    return next((Opened(key, key, False) for key in masters if _is_whole(end, digest, key)), None)


def _is_whole(end: End, digest: bytes, root: Secret) -> bool:
    return hmac.compare_digest(end.hmac.encode(), _hmac(root, digest).encode())


def _head(line: bytes) -> Head:
    head = msgspec.json.decode(line, type=Head)
    if head.watchword_backup != FORMAT:
        raise _damaged("its format is of another release")
    if not 1 <= head.schema_version <= schema.newest():
        raise _damaged(
            f"its schema version is {head.schema_version}, newer than this release knows ({schema.newest()})"
        )
    return head


async def restore_backup(
    settings: Settings,
    path: Path,
    now: int,
    *,
    replace: bool = False,
    exact: bool = False,
    end_api_tokens: bool = False,
) -> Report:
    """Replace the database by a backup, completely or not at all; `exact` keeps valid what was valid at the time.

    Raises OAuthError when the file is not sound, or when the database is not empty and `replace` is not given.
    """
    with _told(path):
        head = _head(next(_lines(path), b""))
    report, root = read_backup(path, existing_master_keys(settings, of_backup=head.master_key))
    bulk = await opening.open_bulk(settings.database, root.derive("audit"), create=True, alone=True)
    try:
        await bulk.begin()
        await _fill(bulk, path, report, root, now, replace=replace)
        if not exact:
            await restoring.end_the_uncertain(bulk, now)
            if end_api_tokens:
                await restoring.end_api_tokens(bulk, now)
        await bulk.record(
            "database.restored", actor="command line", target=_name(path), at=now, rows=report.rows
        )
        await bulk.commit()
    finally:
        await bulk.close()
    return report


async def _fill(bulk: Bulk, path: Path, report: Report, root: Secret, now: int, *, replace: bool) -> None:
    seen = 0
    if await store.schema_version(bulk):
        if not replace:
            raise OAuthError(
                "conflict", "The database is not empty: give --replace to put the backup in its place."
            )
        seen = await restoring.changes(bulk)
    await store.refuse_others(bulk)
    await store.drop_tables(bulk)
    await store.make_tables(bulk, report.schema_version, now)
    await store.clear(bulk, "facts")
    await _insert(bulk, path, report, root)
    await store.make_tables(bulk, schema.newest(), now)
    await restoring.continue_changes(bulk, seen)


async def _insert(bulk: Bulk, path: Path, report: Report, root: Secret) -> None:
    digest = hashlib.sha256()  # computed again: the file may have been replaced since it was checked
    lines = _digested(_lines(path), digest)
    next(lines)
    for table in schema.tables(report.schema_version):
        batch: list[store.Values] = []
        for line in lines:
            if line.startswith(b"{"):
                break
            batch.append(store.decode_row(table, line))
            if len(batch) == store.BATCH:
                await bulk.many(store.insert_statement(table), batch)
                batch = []
        await bulk.many(store.insert_statement(table), batch)
        if await store.count(bulk, table) != report.tables[table.name]:
            raise StorageUnavailable(f"not every row of {table.name} arrived: nothing was restored")
    written = digest.digest()
    if not _is_whole(msgspec.json.decode(next(lines, b""), type=End), written, root):
        raise _damaged("it was changed while it was read")


def _digested(lines: Iterator[bytes], digest: "hashlib._Hash") -> Iterator[bytes]:
    for line in lines:
        digest.update(line + b"\n")
        yield line


def _lines(path: Path) -> Iterator[bytes]:
    with gzip.open(path, "rb") as stream:
        while line := stream.readline(MAX_LINE):
            if not line.endswith(b"\n"):
                raise _damaged("it is cut off")
            yield line[:-1]


def _hmac(root: Secret, digest: bytes) -> str:
    return hmac.new(root.derive(PURPOSE), digest, hashlib.sha256).hexdigest()


def _damaged(why: str) -> OAuthError:
    return OAuthError("invalid_request", f"This backup cannot be used: {why}. Nothing was changed.")


def _encode(value: object) -> bytes:
    return msgspec.json.encode(value)


def _name(path: Path) -> str:
    # A file name may be bytes that are not UTF-8; the audit trail is text
    return os.fsencode(path.name).decode("utf-8", "backslashreplace")


@contextlib.contextmanager
def _new_file(path: Path) -> Iterator[IO[bytes]]:
    """Open a file, readable by its owner only, that gets its name once it is complete and on disk; never overwrites another."""
    if os.path.lexists(path):
        raise OAuthError("conflict", f"{path} exists: name a file that is not there yet.")
    # A random name, not the process id: in a container that is always 1, and a leftover of a killed process must not be in the way.
    partial = path.with_name(f"{path.name}.{secrets.token_hex(4)}.partial")
    try:
        with os.fdopen(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        name_new(partial, path)
        settle(path)
    except OSError as error:
        raise StorageUnavailable(f"cannot write {path}: {error.strerror}") from error
    finally:
        with contextlib.suppress(OSError):  # it may be what could not be made, or in a folder that is gone
            partial.unlink()
