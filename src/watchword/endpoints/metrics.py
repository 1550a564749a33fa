"""Prometheus metrics of this process, for who holds the scope; the counters themselves are plain integers."""

from collections.abc import Iterator

from watchword.flows import caller
from watchword.http import Request, Response
from watchword.oauth.errors import OAuthError
from watchword.telemetry import counts

SCOPE = "watchword:metrics:read"


async def metrics(request: Request) -> Response:
    """Answer the counters in Prometheus' text format."""
    who = await caller.authenticate(request.runtime, request.credentials(), request.path)
    if not who.may(SCOPE):
        challenge = f'Bearer error="insufficient_scope", scope="{SCOPE}"'
        raise OAuthError("insufficient_scope", f"This needs the scope {SCOPE}.", challenge=challenge)
    # Here, because a server that nobody scrapes does not need the library.
    from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
    from prometheus_client.core import CounterMetricFamily

    class Counters:
        """The counters of this process as metric families."""

        def collect(self) -> Iterator[CounterMetricFamily]:
            """Return every counter."""
            families: dict[str, CounterMetricFamily] = {}
            for name, operation, outcome, value in counts():
                family = families.get(name)
                if family is None:
                    text = f"How often: {name.replace('_', ' ')}."
                    family = CounterMetricFamily(f"watchword_{name}", text, labels=("operation", "outcome"))
                    families[name] = family
                family.add_metric((operation, outcome), value)
            yield from families.values()

    registry = CollectorRegistry()
    registry.register(Counters())
    return Response(200, generate_latest(registry), ((b"content-type", CONTENT_TYPE_LATEST.encode()),))
