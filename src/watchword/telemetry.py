"""Structured logs without secrets, and counters for metrics.

Every value that is logged is cut to a bounded length and freed of anything that looks like a credential; control characters
are escaped by the renderer, so that no value can forge a line (ASVS 16.4.1). Counters are plain integers here and become
Prometheus metrics only when they are scraped, because the hot endpoints count every request.
"""

import logging
import re
import sys
from collections.abc import Iterator, MutableMapping
from typing import Any

import structlog

MAX_VALUE = 400
_CREDENTIAL = re.compile(
    r"\b([a-z][a-z0-9]{1,9}[a-z]_)[0-9A-Za-z]{20,}|\b(eyJ)[0-9A-Za-z_-]{8,}\.[0-9A-Za-z_.-]*"
)

_counts: dict[tuple[str, str, str], int] = {}

log: structlog.stdlib.BoundLogger = structlog.get_logger("watchword")


def count(name: str, operation: str = "", outcome: str = "") -> None:
    """Add one to a counter of this process."""
    key = (name, operation, outcome)
    _counts[key] = _counts.get(key, 0) + 1


def counts() -> Iterator[tuple[str, str, str, int]]:
    """Return every counter: name, operation, outcome, value."""
    for (name, operation, outcome), value in list(_counts.items()):
        yield name, operation, outcome, value


def clean(value: str) -> str:
    """Return a text as it may be logged: without credentials and of bounded length."""
    shown = _CREDENTIAL.sub(lambda match: f"{match[1] or match[2]}[redacted]", value[: MAX_VALUE * 4])
    return shown if len(shown) <= MAX_VALUE else f"{shown[:MAX_VALUE]}… ({len(value)} characters)"


def _clean_values(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for key, value in event.items():
        if isinstance(value, str):
            event[key] = clean(value)
        elif not isinstance(value, int | float | bool | None):
            event[key] = clean(repr(value))
    return event


def configure(log_format: str, level: str) -> None:
    """Send logs to standard error, as JSON lines or for reading at a console."""
    renderer: Any = (
        structlog.processors.JSONRenderer()
        if log_format == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _clean_values,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
