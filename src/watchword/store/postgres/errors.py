"""PostgreSQL Appendix A: which errors mean that the database cannot keep its promise now, and which are worth another attempt.

Owns the classification only; who tries again, and how often, is decided where the transaction is run.
"""

import asyncpg  # type: ignore[import-untyped]  # the driver ships no types

from watchword.store.database import StorageUnavailable

FAILURES: tuple[type[Exception], ...] = (
    OSError,  # TimeoutError and ConnectionError are among its kinds
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)
# While connecting, an invalid address raises these as well.
OPENING: tuple[type[Exception], ...] = (*FAILURES, ValueError, OverflowError)
# Classes of SQLSTATE that say something about the server, not about the statement: connection, read-only or ended transaction,
# authorization, catalogue, resources, locks, intervention, system, damage.
_SERVER_CLASSES = frozenset({"08", "25", "28", "3D", "53", "55", "57", "58", "XX"})
# A right was taken away; without the right to a schema, or where the search path leaves it out, its tables are not there at all.
_KEPT_OUT = frozenset({"42501", "42P01"})
# Serialization, deadlock, and a unique value that another transaction wrote after this one had looked: it finds it the next time.
_CONFLICTS = frozenset({"40001", "40P01", "23505"})
_WRONG_SERVER = frozenset({"25006", "25P03", "57P01", "57P02", "57P03"})
# A prepared statement is missing, or an unprepared one exists: a pooler has switched sessions.
_ANOTHER_SESSION = frozenset({"26000", "42P05"})
POOLED = "a pooler in between mixes sessions up: use its session mode (PgBouncer: pool_mode = session)"
# At COMMIT these say for certain that nothing was done.
_ROLLED_BACK = frozenset({"23", "40"})
# In class 40, and yet it may have been done: how distributed databases report a commit whose outcome they lost.
_AMBIGUOUS = "40003"


def sqlstate(error: BaseException) -> str:
    """Return the five characters of an error that the server sent, or an empty text."""
    state = getattr(error, "sqlstate", None)
    return state if isinstance(state, str) else ""


def is_unavailable(error: BaseException) -> bool:
    """Whether the server or the way to it is at fault, and not the statement."""
    if isinstance(error, ValueError):  # the driver's own complaint about a value
        return False
    if isinstance(error, asyncpg.PostgresError):
        state = sqlstate(error)
        if state in _KEPT_OUT or state in _ANOTHER_SESSION or state == _AMBIGUOUS:
            return True
        return state[:2] in _SERVER_CLASSES
    return isinstance(error, FAILURES)


def is_conflict(error: BaseException) -> bool:
    """Whether two transactions or a migration got in each other's way: the same attempt may succeed now."""
    return sqlstate(error) in _CONFLICTS or isinstance(error, asyncpg.InvalidCachedStatementError)


def is_duplicate(error: BaseException) -> bool:
    """Whether a unique value is there already."""
    return sqlstate(error) == "23505"


def is_lost(error: BaseException) -> bool:
    """Whether the connection ended or leads to a server that takes no writes, so that another connection may succeed."""
    if isinstance(error, TimeoutError | ValueError):
        return False
    state = sqlstate(error)
    if isinstance(error, asyncpg.PostgresError):
        return state[:2] == "08" or state in _WRONG_SERVER
    return isinstance(error, FAILURES)


def is_definite(error: BaseException) -> bool:
    """Whether a COMMIT that failed so has certainly changed nothing."""
    state = sqlstate(error)
    return state[:2] in _ROLLED_BACK and state != _AMBIGUOUS


def unavailable(error: BaseException, *, unknown: bool = False) -> StorageUnavailable:
    """Return what callers are told, without anything of the connection's address."""
    reason = str(error) or type(error).__name__
    if isinstance(error, TimeoutError):
        reason = "the database server did not answer in time"
    elif isinstance(error, asyncpg.TargetServerAttributeNotMatched):
        reason = "no host of the address has the role that is wanted (target_session_attrs, primary unless it is named)"
    elif isinstance(
        error, asyncpg.InternalClientError
    ):  # as "cannot switch to state 15", where a connection broke in the midst of use
        reason = f"the connection to the database server was lost ({reason})"
    elif sqlstate(error) in _ANOTHER_SESSION:
        reason = POOLED
    return StorageUnavailable(reason, unknown=unknown)
