"""Fail-points: steps at which a drill ends, fails or delays this process, by name (F-02); off unless WATCHWORD_FAULT asks at the start.

Theory of operation. What must be all or nothing has a step in its middle where a power cut would hurt most. Each such step has a
name in `POINTS` and calls `reach`, which looks at an empty dictionary unless a drill armed it. `WATCHWORD_FAULT` reads
`name=action`, several separated by commas; the action is `exit` (as by kill -9), `error` (as by a disk or connection that fails) or
`delay:seconds`. `name/operation` means the step of one operation only, and `@3` behind the action its third time only.
"""

import os
import re
import signal
import sqlite3
import time
from dataclasses import dataclass

POINTS: dict[str, str] = {
    "change.made": "a code is used up, or a family of refresh tokens has moved on; that is not recorded",
    "grant.ended": "a grant is ended; that is not recorded",
    "token.revoked": "an opaque access token is revoked; that is not recorded",
    "audit.begun": "an operation is about to record what it did",
    "audit.written": "the audit event is written; nothing is committed",
    "commit.begun": "a transaction is about to be committed",
    "commit.done": "a transaction is committed; nobody knows yet, neither the caller nor other nodes",
    "cache.moved": "this node has dropped its caches; other nodes have not been told",
    "answer.made": "an answer is made; none of it is sent",
    "migration.applied": "a statement of a migration is applied; nothing is committed",
}
_SPECIFICATION = re.compile(r"([a-z.]+)(?:/([\w/.-]+))?=(exit|error|delay)(?::(\d+(?:\.\d+)?))?(?:@(\d+))?")


class Injected(sqlite3.OperationalError, OSError):
    """The failure of a disk or a connection, as both databases know it."""


@dataclass(slots=True)
class _Fault:
    action: str
    seconds: float
    only: int  # the one pass, counted from 1, at which it happens; 0 for every pass
    met: int = 0


_armed: dict[str, _Fault] = {}


def parse(specification: str | None) -> dict[str, _Fault]:
    """Read a specification; raise ValueError when it names no fail-point."""
    found = {}
    for part in filter(None, (specification or "").split(",")):
        read = _SPECIFICATION.fullmatch(part.strip())
        if read is None or read[1] not in POINTS:
            raise ValueError(f"WATCHWORD_FAULT: {part!r} is no fail-point=action; see watchword.store.faults")
        name = f"{read[1]}/{read[2]}" if read[2] else read[1]
        found[name] = _Fault(read[3], float(read[4] or 0), int(read[5] or 0))
    return found


def arm(specification: str | None) -> None:
    """Arm the fail-points of a specification, and no others; raise ValueError when it names none."""
    parsed = parse(specification)
    _armed.clear()
    _armed.update(parsed)


def reach(name: str, operation: object = "") -> None:
    """Pass a fail-point on behalf of an operation (a function, or a text); nothing happens unless it is armed."""
    if _armed:
        operation_name = getattr(operation, "__name__", operation)
        _meet(_armed.get(name) or _armed.get(f"{name}/{operation_name}"), name)


def _meet(fault: _Fault | None, name: str) -> None:
    if fault is None:
        return
    fault.met += 1
    if fault.only not in (0, fault.met):
        return
    if fault.action == "exit":
        os.kill(os.getpid(), signal.SIGKILL)
    if fault.action == "error":
        raise Injected(f"fail-point {name}")
    time.sleep(fault.seconds)
