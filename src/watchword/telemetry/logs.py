"""Structured logs without secrets: one line on standard error for each event.

Every value that is logged is cut to a bounded length and freed of anything that looks like a credential; control characters
are escaped by the renderer, so that no value can forge a line (ASVS 16.4.1).
"""

import json
import logging
import os
import re
import select
import sys
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime

from watchword.telemetry.counters import count

MAX_VALUE = 400
MAX_LINE = 4096  # bytes that Linux writes to a pipe atomically (PIPE_BUF)
LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
# What escapes a sign may stand before one: `%20`, `=3D`.
# Identifiers such as `client_` and 26 characters, or 32 hexadecimal digits, are not secrets, and operators search for them.
_CREDENTIAL = re.compile(
    r"(?<![a-z])([a-z][a-z0-9]{1,9}[a-z]_)(?!(?:[0-9a-hjkmnp-tv-z]{26}|[0-9a-f]{32})\b)[0-9A-Za-z]{20,}"
    r"|(eyJ)[0-9A-Za-z_-]{8,}\.[0-9A-Za-z_.-]*"
)


def clean(value: str) -> str:
    """Return a text as it may be logged: without credentials and of bounded length."""
    shown = _CREDENTIAL.sub(lambda match: f"{match[1] or match[2]}[redacted]", value[: MAX_VALUE * 4])
    return shown if len(shown) <= MAX_VALUE else f"{shown[:MAX_VALUE]}… ({len(value)} characters)"


class Log:
    """Writes events to standard error, one line each."""

    def __init__(self) -> None:
        self._least = LEVELS["info"]
        self._render = _as_json
        self._lost = 0  # lines dropped because the reader of the pipe did not keep up, or the disk was full
        self._is_torn = False  # of the last line, or of another worker's, only a part may have arrived

    def configure(self, log_format: str, level: str) -> None:
        """Write JSON lines or lines for reading at a console, from a level on."""
        self._least = LEVELS[level]
        self._render = _as_json if log_format == "json" else _as_text

    def info(self, event: str, **fields: object) -> None:
        """Log something that an operator may want to look up."""
        self._write("info", event, fields)

    def warning(self, event: str, **fields: object) -> None:
        """Log something that an operator should look at."""
        self._write("warning", event, fields)

    def error(self, event: str, **fields: object) -> None:
        """Log something that keeps the server from doing its work."""
        self._write("error", event, fields)

    def _write(self, level: str, event: str, fields: Mapping[str, object]) -> None:
        if LEVELS[level] < self._least:
            return
        shown = {name: _clean_value(value) for name, value in fields.items()}
        if not (self._told_of_lost() and self._emit(level, event, shown)):
            self._lost += 1
            count("log_lines_lost")

    def _told_of_lost(self) -> bool:
        """Say how many lines were lost, once lines arrive again; return whether they do."""
        if self._lost and self._emit("warning", "log.lost", {"lines": self._lost}):
            self._lost = 0
        return not self._lost

    def _emit(self, level: str, event: str, shown: Mapping[str, object]) -> bool:
        """Write a line; return whether all of it has arrived."""
        timestamp = datetime.now(UTC).isoformat().replace("+00:00", "Z")
        end = {"event": event, "level": level, "timestamp": timestamp}
        line = self._render({**shown, **end}) + "\n"
        if len(line) > MAX_LINE:
            line = self._render({**{name: str(value)[:60] for name, value in shown.items()}, **end}) + "\n"
        try:
            return not _would_wait() and self._put(line)
        except (OSError, ValueError, AttributeError):
            # A full disk must not fail a request, nor a standard error that was closed, or is none: then Python has None for it.
            self._is_torn = True
            return False

    def _put(self, line: str) -> bool:
        try:
            descriptor = sys.stderr.fileno()
        except (OSError, ValueError, AttributeError):  # not a file
            sys.stderr.write(line)
            sys.stderr.flush()
            return True
        # Past Python's buffer, which would keep what a full disk did not take, and mix it with later lines.
        data = (("\n" if self._is_torn else "") + line).encode()
        arrived = os.write(descriptor, data)
        self._is_torn = arrived < len(data)
        return not self._is_torn


class Lines(logging.Handler):
    """Writes what the standard library's logging is told by what runs the server, as lines like any other: an event `server.message`."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line: the first of the message, and where it happened, by the end of the rest or of the traceback."""
        detail, _, rest = record.getMessage().partition("\n")
        fields = {"logger": record.name, "detail": detail}
        if record.exc_info and (error := record.exc_info[1]) is not None:
            # Without the text of the exception, which may quote what was sent.
            fields["error"] = type(error).__name__
            rest = "".join(traceback.format_tb(error.__traceback__))
        if rest:
            fields["trace"] = rest[-MAX_VALUE:]
        write = log.error if record.levelno >= logging.ERROR else log.warning
        write("server.message", **fields)


def _would_wait() -> bool:
    """Whether a write would block, because the reader of standard error does not keep up: a log must never stop a request (F-17)."""
    try:
        waiting = select.poll()
        waiting.register(sys.stderr.fileno(), select.POLLOUT)
        return not waiting.poll(0)
    except (OSError, ValueError, AttributeError):  # not a file, or a system without `poll`
        return False


def _clean_value(value: object) -> object:
    if isinstance(value, str):
        return clean(value)
    return value if isinstance(value, int | float | None) else clean(repr(value))


def _as_json(event: Mapping[str, object]) -> str:
    return json.dumps(event)  # escapes everything but printable ASCII


def _as_text(event: Mapping[str, object]) -> str:
    fields = " ".join(f"{name}={json.dumps(value)}" for name, value in list(event.items())[:-3])
    return f"{event['timestamp']} {event['level']:7} {event['event']} {fields}".rstrip()


log = Log()
