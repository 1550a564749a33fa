"""W3C Trace Context and OpenTelemetry: each request a span of the caller's trace, where the operator asked for tracing.

Owns the spans of the server; how they are sampled and where they go is the business of the OpenTelemetry SDK, which the operator
installs and configures (`opentelemetry-instrument watchword serve`). Without the setting `tracing` nothing of it is even imported.
A span says which route, method and status, and the protocol's error code: never an address, a parameter or a credential.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

T = TypeVar("T")

# The header names that a trace arrives by; nothing else of a request is shown to the propagators.
CARRIERS = ("traceparent", "tracestate", "baggage")
_tracer: Any = None


def start(version: str) -> None:
    """Trace from now on, by whatever provider the process has; the provider may be set later."""
    global _tracer
    from opentelemetry import trace

    _tracer = trace.get_tracer("watchword", version)


def stop() -> None:
    """Trace no longer."""
    global _tracer
    _tracer = None


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
    """Answer within a span; `outcome` says status and error code of the answer."""
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
