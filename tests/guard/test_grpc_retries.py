"""gRPC repeats calls by itself (`retryPolicy`): a proof of possession made for each attempt is good for it, one made for the call only once."""

import contextlib
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from tests.fixtures import certificates
from tests.fixtures.certificates import LOCALHOST, Pair
from tests.guard.test_grpc_certificates import key_of

from watchword.guard import Guard
from watchword.guard.grpc import GuardInterceptor, principal
from watchword.testing.kit import Auth

METHOD = "/shop.Shop/whoami"
POLICY = {
    "maxAttempts": 2,
    "initialBackoff": "0.01s",
    "maxBackoff": "0.01s",
    "backoffMultiplier": 1,
    "retryableStatusCodes": ["UNAVAILABLE"],
}
RETRIES = json.dumps({"methodConfig": [{"name": [{}], "retryPolicy": POLICY}]})


class PerAttempt(grpc.AuthMetadataPlugin):  # type: ignore[misc]  # gRPC has no types
    """Makes the metadata of each attempt, as docs/how-to/call-an-api.md shows it."""

    def __init__(self, present: Callable[[str, str], dict[str, str]]) -> None:
        self.present = present

    def __call__(self, context: Any, callback: Any) -> None:
        headers = self.present("POST", f"{context.service_url}/{context.method_name}")
        callback(tuple(headers.items()), None)


@contextlib.contextmanager
def busy_at_first(guard: Guard, pair: Pair) -> Iterator[int]:
    """Serve a method that has no time for its first caller, and yield the port."""
    asked = iter((True, False))

    def whoami(_request: bytes, context: Any) -> bytes:
        if next(asked):
            context.abort(grpc.StatusCode.UNAVAILABLE, "busy")
        return principal().subject.encode()

    interceptor = GuardInterceptor(guard, origin="https://localhost")
    server = grpc.server(ThreadPoolExecutor(2), interceptors=[interceptor])
    handler = grpc.unary_unary_rpc_method_handler(whoami)
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("shop.Shop", {"whoami": handler})])
    port = server.add_secure_port(
        "localhost:0", grpc.ssl_server_credentials([(key_of(pair), pair.pem.encode())])
    )
    server.start()
    try:
        yield port
    finally:
        server.stop(None).wait()


@pytest.mark.parametrize("per_attempt", [True, False])
def test_a_call_that_grpc_repeats_needs_a_proof_for_each_attempt(
    auth: Auth, tmp_path: Path, per_attempt: bool
) -> None:
    pair = certificates.make(tmp_path, "server", names=LOCALHOST)
    token = auth.token("orders:read", dpop=True)

    def present(method: str, address: str) -> dict[str, str]:
        return token.proof(method, address)

    opened = grpc.ssl_channel_credentials(pair.pem.encode())
    metadata: tuple[tuple[str, str], ...] = ()
    if per_attempt:
        each = grpc.metadata_call_credentials(PerAttempt(present))
        opened = grpc.composite_channel_credentials(opened, each)
    else:
        metadata = tuple(present("POST", f"https://localhost{METHOD}").items())
    with busy_at_first(auth.guard(Guard), pair) as port:
        options = [("grpc.service_config", RETRIES), ("grpc.default_authority", "localhost")]
        with grpc.secure_channel(f"localhost:{port}", opened, options) as channel:
            call = channel.unary_unary(METHOD)
            if per_attempt:
                assert call(b"", timeout=10).decode().startswith("user_")
                return
            with pytest.raises(grpc.RpcError) as refused:
                call(b"", metadata=metadata, timeout=10)
    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert refused.value.details() == "The DPoP proof was used before."
