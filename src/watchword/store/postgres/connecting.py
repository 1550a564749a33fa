"""One connection to PostgreSQL, whose failure names what was looked for: the driver names no file, no socket and no host."""

import os
import socket
from typing import Any
from urllib.parse import parse_qs, unquote

import asyncpg  # type: ignore[import-untyped]  # the driver ships no types

from watchword.networks import split_hosts
from watchword.store.postgres.pool import Connection

# PostgreSQL's documentation §34.1.2 and §34.15: each may be in the address or, in capitals after `PG`, in the environment.
FILES = ("sslrootcert", "sslcert", "sslkey", "sslcrl")
# For every session that writes. An administrator may have chosen a stricter `synchronous_commit` than `on`; `off` would acknowledge what a
# power loss can undo. That a standby did not confirm a commit is told by a warning alone, of which such sessions are to hear.
DURABLE = """
SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off';
SELECT set_config('client_min_messages', 'warning', false)
  WHERE current_setting('client_min_messages', true) IN ('error', 'fatal', 'panic')
"""


async def connect(address: str, **options: Any) -> Connection:
    """Connect to one host; raise what the driver raises, with the name that is missing from it."""
    try:
        made: Connection = await asyncpg.connect(address, connection_class=Connection, **options)
    except (FileNotFoundError, PermissionError, IsADirectoryError, socket.gaierror) as error:
        if error.filename is None:
            raise _named(error, address) from error
        raise
    return made


def _named(error: OSError, address: str) -> OSError:
    parts = split_hosts(address)
    given = parse_qs(parts.query)
    for option in FILES:
        path = given.get(option, [os.environ.get(f"PG{option.upper()}", "")])[-1]
        if path and (unreadable := _unreadable(path)) is not None:
            return unreadable
    hosts = unquote(parts.netloc.rpartition("@")[2]) or given.get("host", [os.environ.get("PGHOST", "")])[-1]
    return OSError(error.errno, error.strerror, hosts) if hosts else error


def _unreadable(path: str) -> OSError | None:
    try:
        with open(path, "rb"):
            return None
    except OSError as error:
        return error
