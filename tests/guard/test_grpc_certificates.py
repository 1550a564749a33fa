"""RFC 8705 §3 with gRPC: a token that is bound to a certificate is accepted on the connection that was opened with it."""

import asyncio
import contextlib
import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from tests.fixtures import certificates
from tests.fixtures.certificates import LOCALHOST, Pair

from watchword.guard import Guard
from watchword.guard.grpc import AsyncGuardInterceptor, GuardInterceptor, principal
from watchword.jose import jwk
from watchword.testing.kit import Auth

Serve = Callable[[Guard, Any], contextlib.AbstractContextManager[int]]


def whoami(_request: bytes, _context: Any) -> bytes:
    return str(principal().x5t).encode()


async def async_whoami(_request: bytes, _context: Any) -> bytes:
    return whoami(_request, _context)


def service(method: Any) -> Any:
    handler = grpc.unary_unary_rpc_method_handler(method)
    return grpc.method_handlers_generic_handler("shop.Shop", {"whoami": handler})


@contextlib.contextmanager
def on_threads(guard: Guard, credentials: Any) -> Iterator[int]:
    """Run a `grpc.server`, and yield its port."""
    server = grpc.server(ThreadPoolExecutor(2), interceptors=[GuardInterceptor(guard)])
    server.add_generic_rpc_handlers([service(whoami)])
    port = server.add_secure_port("localhost:0", credentials)
    server.start()
    try:
        yield port
    finally:
        server.stop(None).wait()


@contextlib.contextmanager
def on_a_loop(guard: Guard, credentials: Any, method: Any = async_whoami) -> Iterator[int]:
    """Run a `grpc.aio.server` on a thread of its own, and yield its port."""
    opened: Future[int] = Future()
    ended = asyncio.Event()

    async def serve() -> None:
        server = grpc.aio.server(ThreadPoolExecutor(2), interceptors=[AsyncGuardInterceptor(guard)])
        server.add_generic_rpc_handlers([service(method)])
        port = server.add_secure_port("localhost:0", credentials)
        await server.start()
        opened.set_result(port)
        await ended.wait()
        await server.stop(None)

    with ThreadPoolExecutor(1) as pool, asyncio.Runner() as runner:
        serving = pool.submit(runner.run, serve())
        try:
            yield opened.result(timeout=10)
        finally:
            runner.get_loop().call_soon_threadsafe(ended.set)
            serving.result()


def threads_of_a_loop(guard: Guard, credentials: Any) -> Any:
    """Run a `grpc.aio.server` with a synchronous method."""
    return on_a_loop(guard, credentials, whoami)


def key_of(pair: Pair) -> bytes:
    return pair.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@pytest.mark.parametrize("serve", [on_threads, on_a_loop, threads_of_a_loop])
def test_a_bound_token_needs_the_connection_of_its_certificate(
    auth: Auth, tmp_path: Path, serve: Serve
) -> None:
    authority = certificates.make(tmp_path, "authority", is_authority=True)
    server = certificates.make(tmp_path, "server", issuer=authority, names=LOCALHOST)
    holder, thief = (certificates.make(tmp_path, name, issuer=authority) for name in ("holder", "thief"))
    thumbprint = jwk.b64encode(hashlib.sha256(holder.der).digest())
    bound = auth.token("orders:read", claims={"cnf": {"x5t#S256": thumbprint}})
    root = authority.pem.encode()
    credentials = grpc.ssl_server_credentials([(key_of(server), server.pem.encode())], root, True)

    def call(port: int, caller: Pair) -> bytes:
        opened = grpc.ssl_channel_credentials(root, key_of(caller), caller.pem.encode())
        with grpc.secure_channel(f"localhost:{port}", opened) as channel:
            answer: bytes = channel.unary_unary("/shop.Shop/whoami")(
                b"", metadata=tuple(bound.headers.items()), timeout=10
            )
            return answer

    with serve(auth.guard(Guard), credentials) as port:
        assert call(port, holder) == thumbprint.encode()
        with pytest.raises(grpc.RpcError) as refused:
            call(port, thief)
        assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
        assert refused.value.details() == "The token is bound to another certificate."
