"""Policies of gRPC by name: one for a method that the server does not have leaves no method open, and is told."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import grpc
import grpc.aio
import pytest
from tests.guard import example_apps
from tests.guard.example_apps import BASE

from watchword.flows import api_tokens
from watchword.flows.api_tokens import TokenInput
from watchword.guard import Guard, Policy
from watchword.guard.grpc import AsyncGuardInterceptor, GuardInterceptor
from watchword.testing.kit import Auth

READ, WRITE = Policy(scopes=("orders:read",)), Policy(scopes=("orders:write",))


def _server(
    asynchronous: bool,
    generated: bool,
    guard: Guard,
    rules: dict[str, Policy],
    exclude: tuple[str, ...] = (),
) -> Any:
    def orders(_request: bytes, _context: Any) -> bytes:
        return b"orders"

    async def async_orders(_request: bytes, _context: Any) -> bytes:
        return b"orders"

    handler = grpc.unary_unary_rpc_method_handler(async_orders if asynchronous else orders)
    methods = dict.fromkeys(("List", "Change", "Health"), handler)
    services = [grpc.method_handlers_generic_handler(name, methods) for name in ("shop.Shop", "other.Other")]
    server = (
        grpc.aio.server(interceptors=[AsyncGuardInterceptor(guard, rules, exclude=exclude)])
        if asynchronous
        else grpc.server(
            ThreadPoolExecutor(2), interceptors=[GuardInterceptor(guard, rules, exclude=exclude)]
        )
    )
    server.add_generic_rpc_handlers(services)
    if generated:  # as the code of grpcio-tools does since 1.64
        for name in ("shop.Shop", "other.Other"):
            server.add_registered_method_handlers(name, methods)
    return server


@pytest.fixture(params=[False, True], ids=["by hand", "as generated code does"])
def generated(request: pytest.FixtureRequest) -> bool:
    """Whether methods are registered in both ways, as generated code does."""
    return bool(request.param)


@pytest.fixture(params=[False, True], ids=["grpc", "grpc.aio"])
def statuses(request: pytest.FixtureRequest, generated: bool, auth: Auth) -> Any:
    """Ask a server whose guard has certain rules for its three methods, as a reader; the answers as HTTP statuses."""
    token = auth.token("orders:read", audience=BASE)
    drive = example_apps.grpc_async if request.param else example_apps.grpc_threads

    def ask(rules: dict[str, Policy], exclude: tuple[str, ...] = ()) -> list[int]:
        guard = auth.guard(Guard, audience=BASE)
        with drive(lambda: _server(request.param, generated, guard, rules, exclude)) as call:
            headers = list(token.headers.items())
            return [call("POST", f"/{name}", headers).status for name in ("List", "Change", "Health")]

    return ask


def test_a_policy_for_a_method_that_is_not_there_leaves_no_method_of_its_service_to_the_default(
    statuses: Any, caplog: pytest.LogCaptureFixture
) -> None:
    rules = {"/shop.Shop/List": READ, "/shop.Shop/Change": WRITE}
    assert statuses(rules) == [200, 403, 200]
    assert not caplog.messages
    assert statuses({"/shop.Shop/List": READ, "/shop.Shop/change": WRITE}) == [200, 500, 500]
    assert ["/shop.Shop/change" in told for told in caplog.messages] == [True]


def test_a_name_of_another_service_is_told_and_refuses_nobody(
    statuses: Any, caplog: pytest.LogCaptureFixture
) -> None:
    assert statuses({"/shop.Shop/Change": WRITE, "/other.Other/Nothing": WRITE}) == [200, 403, 200]
    assert ["/other.Other/Nothing" in told for told in caplog.messages] == [True]


def test_a_policy_for_a_service_that_is_not_there_leaves_no_service_without_one_to_the_default(
    statuses: Any, caplog: pytest.LogCaptureFixture
) -> None:
    assert statuses({"/shop.Shops/Change": WRITE}, ("/shop.Shop/Health",)) == [500, 500, 200]
    assert ["/shop.Shops/Change" in told for told in caplog.messages] == [True]


def test_an_asynchronous_interceptor_in_a_synchronous_server_says_so_with_every_call(
    auth: Auth, caplog: pytest.LogCaptureFixture
) -> None:
    def server() -> Any:
        guard = cast(Any, AsyncGuardInterceptor(auth.guard(Guard, audience=BASE)))
        made = grpc.server(ThreadPoolExecutor(2), interceptors=[guard])
        methods = {"List": grpc.unary_unary_rpc_method_handler(lambda _request, _context: b"orders")}
        made.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("shop.Shop", methods)])
        return made

    with example_apps.grpc_threads(server) as call:
        for answered in (1, 2):
            assert call("POST", "/List", []).status == 500
            assert caplog.text.count("TypeError: AsyncGuardInterceptor is for grpc.aio.server") == answered


def test_a_public_method_that_is_not_there_is_told_and_opens_nothing(
    statuses: Any, caplog: pytest.LogCaptureFixture
) -> None:
    rules = {"/shop.Shop/Change": WRITE}
    assert statuses(rules, ("/shop.Shop/Health",)) == [200, 403, 200]
    assert statuses(rules, ("/shop.Shop/health",)) == [200, 403, 200]
    assert ["/shop.Shop/health" in told for told in caplog.messages] == [True]


@pytest.mark.parametrize("asynchronous", [False, True], ids=["grpc", "grpc.aio"])
def test_a_token_for_certain_addresses_is_taken_from_there_only(auth: Auth, asynchronous: bool) -> None:
    def token(network: str) -> str:
        wanted = TokenInput(name="t", scope="orders:read", resource=BASE, addresses=(network,))
        owner = ("application", "application:o")
        issued = auth.worker.run(api_tokens.create(auth.runtime, wanted, owner=owner, actor="test"))
        secret: str = issued.secret
        return secret

    guard = auth.guard(Guard, audience=BASE)
    drive = example_apps.grpc_async if asynchronous else example_apps.grpc_threads
    with drive(lambda: _server(asynchronous, False, guard, {"/shop.Shop/List": READ})) as call:
        for network, status in (("127.0.0.0/8", 200), ("192.0.2.0/24", 401)):
            assert call("POST", "/List", [("authorization", f"Bearer {token(network)}")]).status == status
