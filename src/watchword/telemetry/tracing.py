"""W3C Trace Context and OpenTelemetry: each request is a span of the caller's trace, where the operator asked for tracing.

Owns the spans of the server; sampling and export are up to the OpenTelemetry SDK, which the operator installs and configures
(`opentelemetry-instrument watchword serve`). Without the setting `tracing` none of it is imported. A span holds the route, method,
status and error type: never an address, a parameter or a credential.
"""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

T = TypeVar("T")

FLUSH = 3.0  # seconds

# The headers that carry a trace; the propagators see nothing else of a request.
CARRIERS = ("traceparent", "tracestate", "baggage")
_tracer: Any = None


def start(version: str) -> None:
    """Start tracing, with the process's tracer provider, which may be set later."""
    global _tracer
    from opentelemetry import trace

    _tracer = trace.get_tracer("watchword", version)


async def flush() -> None:
    """Export the spans that wait for it, for `FLUSH` at most: a worker ends by its signal, without what the SDK does when a process exits."""
    if _tracer is None:
        return
    from opentelemetry import trace

    export = getattr(trace.get_tracer_provider(), "force_flush", None)  # the SDK's provider has it
    if export is not None:
        # Nothing waits for such a thread when the process ends: the collector may be away.
        flushing = threading.Thread(target=export, daemon=True)
        flushing.start()
        await asyncio.to_thread(flushing.join, FLUSH)


def is_on() -> bool:
    """Whether requests are traced."""
    return _tracer is not None


async def traced(
    method: str,
    route: str,
    headers: Mapping[bytes, bytes],
    answer: Callable[[], Awaitable[T]],
    outcome: Callable[[T], tuple[int, str]],
) -> T:
    """Answer within a span; `outcome` returns the status and error type of the answer."""
    from opentelemetry import propagate
    from opentelemetry.trace import SpanKind, Status, StatusCode

    carrier = {
        name: headers[name.encode()].decode("latin-1") for name in CARRIERS if name.encode() in headers
    }
    with _tracer.start_as_current_span(
        f"{method} {route}",
        context=propagate.extract(carrier),
        kind=SpanKind.SERVER,
        attributes={"http.request.method": method, "http.route": route},
        record_exception=False,  # an exception's text may hold what was sent
        set_status_on_exception=False,
    ) as span:
        result = await answer()
        status, error = outcome(result)
        span.set_attribute("http.response.status_code", status)
        if error:
            span.set_attribute("error.type", error)
        if status >= 500:
            span.set_status(Status(StatusCode.ERROR))
        return result
