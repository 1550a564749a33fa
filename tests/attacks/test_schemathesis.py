"""The OpenAPI document against the server: whatever it allows is answered, whatever it forbids is refused, nothing fails."""

import asyncio
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from tests.fixtures.servers import ISSUER, Server, open_server

from watchword.app.routes import OPERATIONS
from watchword.http.operation import openapi


class Running:
    """The application on a loop of its own, for tests that are not coroutines."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.stop = asyncio.Event()
        self.ready = threading.Event()
        self.server: Server
        self.token = ""
        self.thread = threading.Thread(target=self.loop.run_until_complete, args=(self._run(),), daemon=True)
        self.thread.start()
        assert self.ready.wait(30)

    async def _run(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            async with open_server(Path(folder)) as self.server:
                self.token = (await self.server.token(scope="watchword:admin introspect")).secret
                self.ready.set()
                await self.stop.wait()

    def call(self, request: dict[str, Any]) -> httpx.Response:
        """Send a request as the administrator."""
        headers = {name: str(value) for name, value in (request.pop("headers", None) or {}).items()}
        headers["authorization"] = f"Bearer {self.token}"
        wanted = {
            name: request[name] for name in ("method", "url", "params", "json", "data") if name in request
        }
        if "data" in wanted:
            wanted["content"] = wanted.pop("data")
        sent = self.server.http.request(**wanted, headers=headers)
        return asyncio.run_coroutine_threadsafe(sent, self.loop).result(30)

    def close(self) -> None:
        """Stop the application."""
        self.loop.call_soon_threadsafe(self.stop.set)
        self.thread.join(30)


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    """The application, running."""
    application = Running()
    yield application
    application.close()


SCHEMA = schemathesis.openapi.from_dict(openapi(OPERATIONS, ISSUER))
DESCRIBED = [result.ok() for result in SCHEMA.get_all_operations()]


@pytest.mark.parametrize("described", DESCRIBED, ids=lambda described: described.label)
@settings(max_examples=15, suppress_health_check=list(HealthCheck), derandomize=True)
@given(data=st.data())
def test_every_operation_keeps_to_the_document(described: Any, running: Running, data: st.DataObject) -> None:
    case = data.draw(described.as_strategy())
    answer = running.call(case.as_transport_kwargs(base_url=ISSUER))
    case.validate_response(
        answer,
        checks=[
            not_a_server_error,
            status_code_conformance,
            content_type_conformance,
            response_schema_conformance,
        ],
    )
