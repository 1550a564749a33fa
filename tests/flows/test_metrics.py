"""Metrics and traces are there for who may see them, and say what happened and never to whom."""

import asyncio
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from tests.fixtures.commands import run_cli
from tests.fixtures.live import Live
from tests.fixtures.servers import Process, Server

from watchword.guard import Guard
from watchword.guard.guard import Presented
from watchword.telemetry import tracing

SCOPE = "watchword:metrics:read"
NAME = re.compile(r"watchword_[a-z0-9_]+")


async def read(server: Server) -> str:
    """Return what a scraper sees."""
    reader = await server.token(scope=SCOPE)
    shown = await server.http.get("/metrics", headers={"authorization": f"Bearer {reader.secret}"})
    assert shown.status_code == 200
    assert shown.headers["content-type"].startswith("text/plain; version=")
    return shown.text


async def test_ad_08_metrics_are_counted_and_need_their_scope(server: Server) -> None:
    client = await server.client()
    assert (await server.grant(client)).status_code == 200
    assert 'watchword_tokens_issued_total{operation="client_credentials",outcome=""}' in await read(server)
    assert (await server.http.get("/metrics")).status_code == 401
    other = await server.token(scope="orders:read")
    refused = await server.http.get("/metrics", headers={"authorization": f"Bearer {other.secret}"})
    assert refused.status_code == 403
    for path in ("/debug", "/docs", "/debug/pprof", "/api/v1/backup", "/env"):
        assert (await server.http.get(path)).status_code == 404


async def test_the_time_of_every_answer_is_told_by_route_method_and_status(server: Server) -> None:
    client = await server.client()
    for _ in range(3):
        assert (await server.grant(client)).status_code == 200
    await server.http.get("/api/v1/tokens/no-such-token")
    await server.http.request("INVENTED", "/nowhere/anybody")
    text = await read(server)
    name = "watchword_request_duration_seconds"
    assert f"# TYPE {name} histogram" in text
    found = re.search(rf'{name}_count{{method="POST",route="/token",status="200"}} (\d+)', text)
    assert found is not None
    assert int(found[1]) >= 3
    assert f'{name}_bucket{{le="+Inf",method="POST",route="/token",status="200"}} {found[1]}' in text
    assert f'{name}_count{{method="GET",route="/api/v1/tokens/{{id}}",status="401"}}' in text
    refused = 'watchword_refusals_total{operation="/api/v1/tokens/{id}",outcome="invalid_token"}'
    assert refused in text, "by the same name as its time"
    assert f'{name}_count{{method="any",route="unknown",status="404"}}' in text
    assert "INVENTED" not in text, "what callers invent is no label"
    assert "anybody" not in text


async def test_every_name_follows_the_conventions(server: Server) -> None:
    text = await read(server)
    for kind, ending in (("counter", "_total"), ("histogram", "_seconds")):
        names = re.findall(rf"# TYPE (\w+) {kind}", text)
        assert names
        assert all(NAME.fullmatch(name) and name.endswith(ending) for name in names), names
    assert not re.search(r'="[^"]{200,}"', text), "labels are few and short"


def test_workers_are_counted_together(server_process: Process) -> None:
    made = run_cli(
        server_process.folder, "token", "create", "m", "--owner", "monitoring", "--scope", SCOPE
    ).stdout
    token = next(word for word in made.split() if word.startswith("wwa_"))
    for _ in range(20):
        assert httpx.get(f"{server_process.issuer}/sign-in").status_code == 200
    wanted = re.compile(r'request_duration_seconds_count{method="GET",route="/sign-in",status="200"} (\d+)')
    seen: list[int] = []
    for _ in range(200):  # what the other worker counted is a second old at most
        text = httpx.get(
            f"{server_process.issuer}/metrics", headers={"authorization": f"Bearer {token}"}
        ).text
        found = wanted.search(text)
        seen.append(int(found[1]) if found else 0)
        if seen[-3:] == [20, 20, 20]:
            break
        time.sleep(0.05)
    assert seen[-1] == 20, seen


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    """What OpenTelemetry's own SDK was given."""
    exporter = InMemorySpanExporter()
    provider = trace.get_tracer_provider()
    if not isinstance(provider, TracerProvider):
        provider = TracerProvider()
        trace.set_tracer_provider(provider)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(tracing, "_tracer", None)  # as before, in the end
    tracing.start("1")
    yield exporter
    exporter.shutdown()


async def test_a_request_continues_the_trace_of_its_caller(
    server: Server, spans: InMemorySpanExporter
) -> None:
    trace_id = "0af7651916cd43dd8448eb211c80319c"
    headers = {"traceparent": f"00-{trace_id}-b7ad6b7169203331-01"}
    await server.http.get("/api/v1/tokens/some-token", headers=headers)
    (span,) = spans.get_finished_spans()
    assert span.name == "GET /api/v1/tokens/{id}"
    assert span.context is not None
    assert f"{span.context.trace_id:032x}" == trace_id
    assert dict(span.attributes or {}) == {
        "http.request.method": "GET",
        "http.route": "/api/v1/tokens/{id}",
        "http.response.status_code": 401,
    }


async def test_spans_that_wait_to_be_exported_are_exported_before_the_server_has_stopped(
    server: Server, spans: InMemorySpanExporter
) -> None:
    late, provider = InMemorySpanExporter(), trace.get_tracer_provider()
    assert isinstance(provider, TracerProvider)
    provider.add_span_processor(BatchSpanProcessor(late, schedule_delay_millis=3_600_000))
    asked, sent = asyncio.Queue[Any](), asyncio.Queue[Any]()
    await server.app.close()
    life = asyncio.create_task(server.app({"type": "lifespan"}, asked.get, sent.put))
    await asked.put({"type": "lifespan.startup"})
    assert (await sent.get())["type"] == "lifespan.startup.complete"
    await server.http.get("/livez")
    assert spans.get_finished_spans()
    assert not late.get_finished_spans()
    await asked.put({"type": "lifespan.shutdown"})
    assert (await sent.get())["type"] == "lifespan.shutdown.complete"
    await life
    assert [span.name for span in late.get_finished_spans()] == ["GET /livez"]


@pytest.mark.parametrize("value", ["nonsense", "00-0-0-0", "00-" + "f" * 2000, ""])
async def test_a_malformed_trace_is_no_trace(server: Server, spans: InMemorySpanExporter, value: str) -> None:
    answer = await server.http.get("/healthz", headers={"traceparent": value})
    assert answer.status_code == 200
    (span,) = spans.get_finished_spans()
    assert span.parent is None


def test_one_trace_goes_through_guard_and_server(live: Live, spans: InMemorySpanExporter) -> None:
    client = live.client(access_token_format="opaque", scope="introspect orders:read")
    auth = (client.client.client_id, client.client_secret or "")
    token = httpx.post(f"{live.issuer}/token", data={"grant_type": "client_credentials"}, auth=auth).json()[
        "access_token"
    ]
    guard = Guard(live.issuer, client_id=auth[0], client_secret=auth[1])
    spans.clear()
    with trace.get_tracer("an API").start_as_current_span("GET /orders") as root:
        principal = guard.authenticate_sync(Presented(authorization=[f"Bearer {token}"]))
    assert principal.client_id == client.client.client_id
    finished = {span.name: span for span in spans.get_finished_spans()}
    asked, answered = finished["watchword.introspect"], finished["POST /introspect"]
    assert asked.context is not None
    assert answered.context is not None
    assert asked.context.trace_id == answered.context.trace_id == root.get_span_context().trace_id
    assert answered.parent is not None
    assert answered.parent.span_id == asked.context.span_id
    written = "".join(span.to_json() for span in finished.values())
    assert token[4:] not in written


def test_without_the_setting_nothing_of_opentelemetry_is_loaded() -> None:
    program = "import sys, watchword.app, watchword.guard; print('opentelemetry' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
        == "False\n"
    )
