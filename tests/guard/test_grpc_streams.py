"""Methods of gRPC of all four shapes are guarded: their requests and answers may be one message or a stream."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import grpc.aio
import pytest
from tests.guard.example_apps import BASE

from watchword.guard import Guard, Policy
from watchword.guard.grpc import AsyncGuardInterceptor, GuardInterceptor, principal
from watchword.testing.kit import Auth

SHAPES = ("unary_unary", "unary_stream", "stream_unary", "stream_stream")
READ = Policy(scopes=("orders:read",))
ISSUED = Policy(kinds=("access_token",))

Methods = dict[str, Callable[[Any, Any], Any]]
Begin = Callable[[], None]


def _synchronous(begin: Begin) -> Methods:
    def one(request: bytes, _: Any) -> bytes:
        begin()
        return request

    def many(request: bytes, _: Any) -> Iterator[bytes]:
        begin()
        yield from (request, request)

    def joined(requests: Iterator[bytes], _: Any) -> bytes:
        begin()
        return b"".join(requests)

    def echoed(requests: Iterator[bytes], _: Any) -> Iterator[bytes]:
        begin()
        yield from requests

    return dict(zip(SHAPES, (one, many, joined, echoed), strict=True))


def _asynchronous(begin: Begin) -> Methods:
    async def one(request: bytes, _: Any) -> bytes:
        begin()
        return request

    async def many(request: bytes, _: Any) -> AsyncIterator[bytes]:
        begin()
        for answer in (request, request):
            yield answer

    async def joined(requests: AsyncIterator[bytes], _: Any) -> bytes:
        begin()
        return b"".join([request async for request in requests])

    async def echoed(requests: AsyncIterator[bytes], _: Any) -> AsyncIterator[bytes]:
        begin()
        async for request in requests:
            yield request

    return dict(zip(SHAPES, (one, many, joined, echoed), strict=True))


def _writing(begin: Begin) -> Methods:
    async def many(request: bytes, context: Any) -> None:
        begin()
        for answer in (request, request):
            await context.write(answer)

    async def echoed(requests: AsyncIterator[bytes], context: Any) -> None:
        begin()
        async for request in requests:
            await context.write(request)

    return _asynchronous(begin) | {"unary_stream": many, "stream_stream": echoed}


@pytest.mark.parametrize(
    ("make", "asynchronous"),
    [
        pytest.param(_synchronous, False, id="grpc"),
        pytest.param(_synchronous, True, id="grpc.aio with methods that are not asynchronous"),
        pytest.param(_asynchronous, True, id="grpc.aio"),
        pytest.param(_writing, True, id="grpc.aio with methods that write"),
    ],
)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_method_of_any_shape_is_guarded(
    auth: Auth, shape: str, make: Callable[[Begin], Methods], asynchronous: bool
) -> None:
    alice = auth.user("alice")
    callers: list[str] = []
    guard = auth.guard(Guard, audience=BASE)
    method = make(lambda: callers.append(guard.demand(principal(), ISSUED).subject))[shape]
    handler = getattr(grpc, f"{shape}_rpc_method_handler")(method)

    async def outcomes() -> list[tuple[grpc.StatusCode, list[bytes]]]:
        server: Any = (
            grpc.aio.server(interceptors=[AsyncGuardInterceptor(guard, default=READ)])
            if asynchronous
            else grpc.server(ThreadPoolExecutor(2), interceptors=[GuardInterceptor(guard, default=READ)])
        )
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("shop.Shop", {"Do": handler}),))
        port = server.add_insecure_port("127.0.0.1:0")
        started = server.start()
        if asynchronous:
            await started
        tokens = [auth.token(scope, audience=BASE, user=alice) for scope in ("orders:read", "orders:write")]
        tokens.append(auth.token("orders:read", audience=BASE, user=alice, kind="api_token"))
        told = [await asyncio.to_thread(_answer, port, shape, token) for token in (*tokens, None)]
        stopped = server.stop(None)
        if asynchronous:
            await stopped
        else:
            stopped.wait()
        return told

    several = {"unary_unary": [b"a"], "unary_stream": [b"a", b"a"], "stream_unary": [b"ab"]}
    assert asyncio.run(outcomes()) == [
        (grpc.StatusCode.OK, several.get(shape, [b"a", b"b"])),
        (grpc.StatusCode.PERMISSION_DENIED, []),
        (grpc.StatusCode.PERMISSION_DENIED, []),  # by the method itself
        (grpc.StatusCode.UNAUTHENTICATED, []),
    ]
    assert callers == [alice.id], "what is refused reaches no method"


def _answer(port: int, shape: str, token: object) -> tuple[grpc.StatusCode, list[bytes]]:
    sent = (("authorization", f"Bearer {token}"),) if token else ()
    request = iter((b"a", b"b")) if shape.startswith("stream") else b"a"
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        try:
            told = getattr(channel, shape)("/shop.Shop/Do")(request, metadata=sent, timeout=10)
            return grpc.StatusCode.OK, list(told) if shape.endswith("stream") else [told]
        except grpc.RpcError as error:
            return error.code(), []
