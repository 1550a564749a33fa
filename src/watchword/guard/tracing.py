"""W3C Trace Context: the guard's introspection request belongs to the trace of the request that it guards.

OpenTelemetry is used where the application has loaded it, and never imported otherwise: it is no dependency of the guard.
"""

import contextlib
import importlib
import sys
from collections.abc import Iterator, MutableMapping


@contextlib.contextmanager
def asking(name: str, headers: MutableMapping[str, str]) -> Iterator[None]:
    """Wrap a request to the issuer in a span, and propagate the trace in its headers."""
    trace = sys.modules.get("opentelemetry.trace")
    if trace is None:
        yield
        return
    propagate = importlib.import_module("opentelemetry.propagate")
    tracer = trace.get_tracer("watchword.guard")
    with tracer.start_as_current_span(name, kind=trace.SpanKind.CLIENT, record_exception=False):
        propagate.inject(headers)
        yield
