"""W3C Trace Context: the guard's question to the issuer belongs to the trace of the request that it guards.

OpenTelemetry is used where the application has loaded it, and not imported otherwise: the guard depends on nothing of it.
"""

import contextlib
import importlib
import sys
from collections.abc import Iterator, MutableMapping


@contextlib.contextmanager
def asking(name: str, headers: MutableMapping[str, str]) -> Iterator[None]:
    """Span a question to the issuer and put the trace into its headers."""
    trace = sys.modules.get("opentelemetry.trace")
    if trace is None:
        yield
        return
    propagate = importlib.import_module("opentelemetry.propagate")
    tracer = trace.get_tracer("watchword.guard")
    with tracer.start_as_current_span(name, kind=trace.SpanKind.CLIENT, record_exception=False):
        propagate.inject(headers)
        yield
