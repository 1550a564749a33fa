"""The applications under `examples/`, each behind one function that sends a request and returns the answer.

A framework is driven by its own means where it needs them (aiohttp and gRPC over a loopback port), else in the process. WSGI is
called as real servers do: equal headers arrive joined by commas.
"""

import asyncio
import contextlib
import importlib.util
import io
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import unquote_to_bytes
from wsgiref.util import setup_testing_defaults

import httpx

EXAMPLES = Path(__file__).parents[2] / "examples"
BASE = "http://localhost:8001"

Headers = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a framework answered, gRPC's codes as their HTTP equals."""

    status: int
    challenge: str | None
    body: bytes
    # Names in lower case; of gRPC its trailing metadata
    headers: Mapping[str, str] = field(default_factory=dict)

    def says(self, name: str) -> object:
        """Return a member of the JSON body, None when it has no such body."""
        try:
            document = json.loads(self.body)
        except ValueError:
            return None
        return document.get(name) if isinstance(document, dict) else None


Call = Callable[[str, str, Headers], Answer]


def load(name: str) -> ModuleType:
    """Return an example as a module, loaded once."""
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]


def _answered(answer: httpx.Response) -> Answer:
    return Answer(answer.status_code, answer.headers.get("www-authenticate"), answer.content, answer.headers)


@contextlib.contextmanager
def asgi(app: Any) -> Iterator[Call]:
    """Drive an ASGI application."""
    with asyncio.Runner() as runner:

        async def send(method: str, target: str, headers: Headers) -> Answer:
            transport = httpx.ASGITransport(app=app, client=("127.0.0.1", 5000))
            async with httpx.AsyncClient(transport=transport, base_url=BASE) as client:
                return _answered(await client.request(method, target, headers=list(headers)))

        yield lambda method, target, headers: runner.run(send(method, target, headers))


@contextlib.contextmanager
def wsgi(app: Any) -> Iterator[Call]:
    """Drive a WSGI application."""

    def send(method: str, target: str, headers: Headers) -> Answer:
        path, _, query = target.partition("?")
        environ: dict[str, Any] = {
            "REQUEST_METHOD": method,
            "PATH_INFO": unquote_to_bytes(path).decode("latin-1"),
            "RAW_URI": target,  # as gunicorn hands it over
            "QUERY_STRING": query,
            "HTTP_HOST": BASE.partition("//")[2],
            "REMOTE_ADDR": "127.0.0.1",
            "wsgi.input": io.BytesIO(),
        }
        for name, value in headers:
            key = "HTTP_" + name.upper().replace("-", "_")
            environ[key] = f"{environ[key]},{value}" if key in environ else value
        setup_testing_defaults(environ)
        started: list[Any] = []
        body = app(environ, lambda *given: started.append(given))
        content = b"".join(body)
        given = {name.lower(): value for name, value in started[0][1]}
        return Answer(int(started[0][0].split()[0]), given.get("www-authenticate"), content, given)

    yield send


@contextlib.contextmanager
def aiohttp(make_app: Callable[[], Any]) -> Iterator[Call]:
    """Drive an aiohttp application over a loopback port."""
    from aiohttp.test_utils import TestServer

    with asyncio.Runner() as runner:
        server = TestServer(make_app())
        runner.run(server.start_server())

        async def send(method: str, target: str, headers: Headers) -> Answer:
            given = [("host", BASE.partition("//")[2]), *headers]
            async with httpx.AsyncClient(base_url=str(server.make_url("/"))) as client:
                return _answered(await client.request(method, target, headers=given))

        yield lambda method, target, headers: runner.run(send(method, target, headers))
        runner.run(server.close())


def _metadata(headers: Headers) -> list[tuple[str, str]]:
    return [(name.lower(), value) for name, value in headers]


def _grpc_answer(error: Any) -> Answer:
    import grpc

    codes = {
        grpc.StatusCode.INVALID_ARGUMENT: 400,
        grpc.StatusCode.UNAUTHENTICATED: 401,
        grpc.StatusCode.PERMISSION_DENIED: 403,
        grpc.StatusCode.RESOURCE_EXHAUSTED: 431,
        grpc.StatusCode.UNAVAILABLE: 503,
    }
    trailer = dict(iter(error.trailing_metadata() or ()))
    status, details = codes.get(error.code(), 500), error.details().encode()
    return Answer(status, trailer.get("www-authenticate"), details, trailer)


@contextlib.contextmanager
def grpc_threads(make_server: Callable[[], Any]) -> Iterator[Call]:
    """Drive a `grpc.server`."""
    import grpc

    server = make_server()
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:

        def send(method: str, target: str, headers: Headers) -> Answer:
            call = channel.unary_unary(f"/shop.Shop{target}", lambda _: b"{}", bytes)
            try:
                return Answer(200, None, call(None, metadata=_metadata(headers), timeout=10))
            except grpc.RpcError as error:
                return _grpc_answer(error)

        yield send
    server.stop(None).wait()


@contextlib.contextmanager
def grpc_async(make_server: Callable[[], Any]) -> Iterator[Call]:
    """Drive a `grpc.aio.server`."""
    import grpc
    import grpc.aio

    with asyncio.Runner() as runner:

        async def start() -> tuple[Any, int]:
            server = make_server()
            port = server.add_insecure_port("127.0.0.1:0")
            await server.start()
            return server, port

        server, port = runner.run(start())

        async def send(method: str, target: str, headers: Headers) -> Answer:
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                call = channel.unary_unary(f"/shop.Shop{target}", lambda _: b"{}", bytes)
                try:
                    return Answer(200, None, await call(None, metadata=_metadata(headers), timeout=10))
                except grpc.RpcError as error:
                    return _grpc_answer(error)

        yield lambda method, target, headers: runner.run(send(method, target, headers))
        runner.run(server.stop(None))


@contextlib.contextmanager
def django(name: str, attribute: str, drive: Callable[[Any], Any]) -> Iterator[Call]:
    """Drive a Django example; a process has one set of settings, so each example's are put in place for its turn."""
    # The first to be loaded configures the process, and REST framework reads its settings early
    load("drf_app")
    from django.test import override_settings

    module = load(name)
    with override_settings(**module.SETTINGS), drive(getattr(module, attribute)) as call:
        yield call


# The module of each, which holds its guard, and how it is driven.
APPLICATIONS: dict[str, tuple[str, Callable[[], Any]]] = {
    "asgi": ("asgi_app", lambda: asgi(load("asgi_app").app)),
    "wsgi": ("wsgi_app", lambda: wsgi(load("wsgi_app").app)),
    "starlette": ("starlette_app", lambda: asgi(load("starlette_app").app)),
    "fastapi": ("fastapi_app", lambda: asgi(load("fastapi_app").app)),
    "litestar": ("litestar_app", lambda: asgi(load("litestar_app").app)),
    "django": ("django_app", lambda: django("django_app", "app", wsgi)),
    "django-async": ("django_app", lambda: django("django_app", "async_app", asgi)),
    "drf": ("drf_app", lambda: django("drf_app", "app", wsgi)),
    "ninja": ("ninja_app", lambda: django("ninja_app", "app", asgi)),
    "flask": ("flask_app", lambda: wsgi(load("flask_app").app)),
    "falcon": ("falcon_app", lambda: wsgi(load("falcon_app").app)),
    "falcon-async": ("falcon_app", lambda: asgi(load("falcon_app").async_app)),
    "aiohttp": ("aiohttp_app", lambda: aiohttp(load("aiohttp_app").make_app)),
    "grpc": ("grpc_app", lambda: grpc_threads(load("grpc_app").make_server)),
    "grpc-async": ("grpc_app", lambda: grpc_async(load("grpc_app").make_async_server)),
}
