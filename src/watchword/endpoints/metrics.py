"""Prometheus metrics of this server, summed over its workers, for callers with the scope."""

from collections.abc import Iterator
from itertools import accumulate
from typing import TYPE_CHECKING

from watchword.flows import caller
from watchword.flows.runtime import Runtime
from watchword.http import NO_STORE, Request, Response
from watchword.telemetry import BUCKETS, Tally, workers

if TYPE_CHECKING:
    from prometheus_client import Metric

SCOPE = "watchword:metrics:read"


async def metrics(request: Request) -> Response:
    """Answer with counters and durations in Prometheus' text format."""
    who = await caller.authenticate(request.runtime, request.credentials(), request.path)
    if not who.may(SCOPE):
        raise who.refusal("insufficient_scope", f"This needs the scope {SCOPE}.", scope=SCOPE)
    return Response(200, _exposition(request.runtime), ((b"content-type", CONTENT_TYPE), *NO_STORE))


# What each counter counts, for whoever reads it in Prometheus: name → help.
COUNTERS = {
    "tokens_issued": "Tokens issued, by grant type.",
    "introspections": "Introspections, by what was answered.",
    "sign_ins": "Attempts of people to sign in, by means and outcome.",
    "revocations": "Revocations asked for.",
    "clients_registered": "Clients that registered themselves.",
    "refusals": "Requests refused, by route and error.",
    "failures": "Requests that failed by a defect (500), by route.",
    "storage_unavailable": "Answers 503 because of the database.",
    "requests_crowded_out": "Requests refused because too much of others was on its way in.",
    "memory_exhausted": "Answers 503 for lack of memory.",
    "descriptors_exhausted": "Answers 503 for lack of file descriptors.",
    "jobs": "Rounds of the server's own work, by job and outcome.",
    "logout_notices": "Logout tokens sent to clients, by outcome.",
    "upstream_logouts": "Sign-outs that another provider asked for, by provider.",
    "log_lines_lost": "Log lines that were lost.",
}
# What `generate_latest` of the library below writes.
CONTENT_TYPE = b"text/plain; version=1.0.0; charset=utf-8"


def _exposition(runtime: Runtime) -> bytes:
    # Imported here: a server that nobody scrapes does not need the library.
    from prometheus_client import CollectorRegistry, generate_latest

    class Counted:
        """What all workers have counted, as metric families."""

        def collect(self) -> Iterator["Metric"]:
            """Return every family."""
            tally = workers.total(runtime.shared)
            yield from _counters(tally)
            yield _durations(tally)

    registry = CollectorRegistry()
    registry.register(Counted())
    return generate_latest(registry)


def _counters(tally: Tally) -> Iterator["Metric"]:
    from prometheus_client.core import CounterMetricFamily

    families: dict[str, CounterMetricFamily] = {}
    for name, operation, outcome, value in tally.counts:
        family = families.get(name)
        if family is None:
            labels = ("operation", "outcome")
            family = CounterMetricFamily(f"watchword_{name}", COUNTERS[name], labels=labels)
            families[name] = family
        family.add_metric((operation, outcome), value)
    yield from families.values()


def _durations(tally: Tally) -> "Metric":
    from prometheus_client.core import HistogramMetricFamily

    family = HistogramMetricFamily(
        "watchword_request_duration_seconds",
        "How long answers took, from the whole request to the answer made.",
        labels=("route", "method", "status"),
    )
    bounds = [*(f"{bound:g}" for bound in BUCKETS), "+Inf"]
    for route, method, status, (total, *buckets) in tally.durations:
        levels = list(zip(bounds, accumulate(buckets), strict=True))
        family.add_metric((route, method, str(status)), levels, total)
    return family
