"""The client's own record of a drill: one JSON line for each operation, written before and after the call.

An operation is `sent` until it is `acked`, `refused` or `unknown`: of what was sent and never answered nobody knows whether it
happened, and a check may claim neither. Secrets are in the file as SHA-256 only; the plain ones stay in memory for the checks.
"""

import hashlib
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

State = Literal["sent", "acked", "refused", "unknown"]


@dataclass(slots=True)
class Entry:
    """One operation; `error` is the protocol's code, or what became of the connection."""

    number: int
    op: str
    client: str
    subject: str
    token_hash: str
    t_sent: float
    state: State = "sent"
    t_answer: float = 0.0
    status: int = 0
    error: str = ""
    retry_after: str = ""


def hashed(secret: str) -> str:
    """Return what stands for a secret in the file."""
    return hashlib.sha256(secret.encode()).hexdigest() if secret else ""


class Ledger:
    """The entries of one drill, safe to be written by many threads."""

    def __init__(self, path: Path) -> None:
        self._stream = path.open("w", encoding="utf-8")
        self._lock = threading.Lock()
        self.entries: list[Entry] = []
        self.secrets: set[str] = set()

    def begin(self, op: str, *, client: str = "", subject: str = "", token: str = "") -> Entry:
        """Note that an operation is about to be sent."""
        with self._lock:
            entry = Entry(len(self.entries), op, client, subject, hashed(token), time.time())
            self.entries.append(entry)
            self._write(entry)
        return entry

    def end(
        self, entry: Entry, state: State, status: int = 0, error: str = "", retry_after: str = ""
    ) -> None:
        """Note what became of it."""
        entry.state, entry.status, entry.error, entry.retry_after = state, status, error, retry_after
        entry.t_answer = time.time()
        with self._lock:
            self._write(entry)

    def keep(self, *secrets: str) -> None:
        """Remember secrets that must be nowhere afterwards (I8)."""
        self.secrets.update(secret for secret in secrets if secret)

    def _write(self, entry: Entry) -> None:
        self._stream.write(json.dumps(asdict(entry)) + "\n")
        self._stream.flush()

    def close(self) -> None:
        """Close the file."""
        self._stream.close()

    def counts(self) -> dict[str, int]:
        """Return how many operations ended in which state."""
        found: dict[str, int] = {}
        for entry in self.entries:
            found[entry.state] = found.get(entry.state, 0) + 1
        return found

    def dishonest(self) -> Iterator[Entry]:
        """Return what no fault excuses (I6): a refusal without its reason, an outage that does not say when to come again."""
        for entry in self.entries:
            if (
                entry.state == "refused"
                and entry.status >= 500
                and not (entry.status == 503 and entry.retry_after)
            ) or (entry.state == "refused" and entry.status not in (429, 503)):
                yield entry
