"""The hosts that an address names, and which of them is the primary: all are asked at once.

Theory of operation. The driver tries one host after another, so a silent one, paused or behind a network that drops its packets,
would hold up every connection until the timeout. And two hosts may take writes for a while: a primary that was paused, or cut off
from its supervisor, does not know that another was promoted. A promotion begins a timeline, so the host on the newest timeline is the
primary. Connections to an older one are cut as soon as a newer one is seen, since they would read stale data. Hosts are therefore
polled (`watch`), and a former primary is not used for `MEMORY` seconds after a newer one was last seen.
"""

import asyncio
import contextlib
import time
import weakref
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any
from urllib.parse import parse_qs, urlunsplit

import asyncpg  # type: ignore[import-untyped]  # the driver ships no types

from watchword.networks import split_hosts
from watchword.store.postgres.errors import FAILURES
from watchword.store.postgres.pool import Connection, cut

SETTLING = 0.2  # seconds that the other hosts are given to answer after the first one that takes writes
ROUND = 1.0
MEMORY = 30.0
ATTEMPTS = 2
WRITABLE = ("primary", "read-write")
# NULL on a standby.
TIMELINE = """
SELECT CASE WHEN NOT pg_is_in_recovery()
  THEN ('x' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))::bit(32)::bigint END
"""


class _Former(ConnectionError):
    """A server that takes writes but is no longer the primary."""

    def __init__(self) -> None:
        super().__init__("the only server that takes writes is a former primary")


Connect = Callable[..., Awaitable[Connection]]
Asking = Coroutine[Any, Any, tuple[Connection, int]]
Answer = asyncio.Task[tuple[Connection, int]]


class Hosts:
    """The hosts of one address, `connect` to each of them, and the connections to the one that takes writes."""

    def __init__(self, address: str, connect: Connect) -> None:
        self._addresses, self._wanted = _each(address)
        self._connect = connect
        # The newest timeline of a primary, and when one was last seen on it.
        self._newest, self._seen = 0, 0.0
        self._connections: weakref.WeakKeyDictionary[Connection, int] = weakref.WeakKeyDictionary()
        self._watching: list[asyncio.Task[None]] = []

    async def connect(self, **options: Any) -> Connection:
        """Return a connection to the primary; raise what the driver raises when there is none."""
        if len(self._addresses) == 1:
            return await self._connect(self._addresses[0], **options)
        connection, timeline = await self._primary(self._wanted | options)
        self._saw(timeline)
        self._connections[connection] = timeline
        return connection

    async def _primary(self, options: dict[str, Any]) -> tuple[Connection, int]:
        for _ in range(ATTEMPTS):
            connection, timeline = await _newest([self._ask(address, options) for address in self._addresses])
            if not self._is_former(timeline):
                return connection, timeline
            cut(connection)  # a newer one was seen while this one was chosen: ask again
        raise _Former

    async def _ask(self, address: str, options: dict[str, Any]) -> tuple[Connection, int]:
        connection = await self._connect(address, **options)
        try:
            timeline = await _timeline(connection) or 0
            if self._is_former(timeline):  # another host may still answer
                raise _Former
        except BaseException:
            cut(connection)
            raise
        return connection, timeline

    def _is_former(self, timeline: int) -> bool:
        return timeline < self._newest and time.monotonic() - self._seen < MEMORY

    def _saw(self, timeline: int) -> None:
        """Note a primary, and cut the connections to earlier ones."""
        if self._is_former(timeline):
            return
        self._newest, self._seen = timeline, time.monotonic()
        for connection, older in list(self._connections.items()):
            if older < timeline:
                cut(connection)

    def watch(self) -> None:
        """Start polling each of several hosts for whether it is the primary."""
        if len(self._addresses) > 1:
            self._watching = [asyncio.create_task(self._watch(address)) for address in self._addresses]

    async def _watch(self, address: str) -> None:
        named = {"application_name": "watchword-hosts"}
        while True:
            with contextlib.suppress(*FAILURES):
                connection = await self._connect(address, target_session_attrs="any", server_settings=named)
                try:
                    while True:
                        if (timeline := await _timeline(connection)) is not None:
                            self._saw(timeline)
                        await asyncio.sleep(ROUND)
                finally:
                    cut(connection)
            await asyncio.sleep(ROUND)

    async def close(self) -> None:
        """Stop polling."""
        for task in self._watching:
            task.cancel()
        await asyncio.gather(*self._watching, return_exceptions=True)


async def _timeline(connection: Connection) -> int | None:
    """Return the timeline of a primary, None of a standby; 0 where the server has none."""
    try:
        timeline: int | None = await connection.fetchval(TIMELINE)
    except (
        asyncpg.UndefinedFunctionError,
        asyncpg.InsufficientPrivilegeError,
        asyncpg.FeatureNotSupportedError,
    ):
        return 0
    return timeline


async def _newest(asking: list[Asking]) -> tuple[Connection, int]:
    """Return the connection to the host on the newest timeline; drop the others, late ones included."""
    tasks = [asyncio.create_task(ask) for ask in asking]
    chosen = None
    try:
        await _one_of(tasks)
        await asyncio.wait(tasks, timeout=SETTLING)
        answered = [task for task in tasks if task.done() and task.exception() is None]
        if not answered:
            raise _reason(tasks)
        chosen = max(answered, key=lambda task: task.result()[1])
        return chosen.result()
    finally:
        for task in tasks:
            if task is not chosen:
                task.cancel()
                task.add_done_callback(_let_go)


async def _one_of(tasks: list[Answer]) -> None:
    """Return when one has succeeded or all have ended."""
    waiting = set(tasks)
    while waiting:
        done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        if any(task.exception() is None for task in done):
            return


def _reason(tasks: list[Answer]) -> BaseException:
    """Return why there is no primary: a server's own error rather than a failure to reach one."""
    failures = [failure for task in tasks if task.done() and (failure := task.exception()) is not None]
    return next((one for one in failures if isinstance(one, _Former | asyncpg.PostgresError)), failures[-1])


def _let_go(task: Answer) -> None:
    if not task.cancelled() and task.exception() is None:
        cut(task.result()[0])


def _each(address: str) -> tuple[list[str], dict[str, str]]:
    """Return the address of each host, and its required role; an address with one host, or that wants no primary, is left as it is."""
    try:
        parts = split_hosts(address)
    except ValueError:  # the driver says what is wrong with it
        return [address], {}
    user, at, hosts = parts.netloc.rpartition("@")
    wanted = parse_qs(parts.query).get("target_session_attrs", [WRITABLE[0]])[-1]
    if "," not in hosts or wanted not in WRITABLE:
        return [address], {}
    each = [urlunsplit(parts._replace(netloc=user + at + host)) for host in hosts.split(",")]
    return each, {"target_session_attrs": wanted}
