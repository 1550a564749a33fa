"""A shop's API with gRPC, its messages written as JSON: WATCHWORD_URL=https://auth.example.com API_URL=https://api.example.com python grpc_app.py

With `grpc.aio` the interceptor is `AsyncGuardInterceptor`, and all else is the same.
"""

import json
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import grpc.aio

from watchword.guard import Guard, Policy
from watchword.guard.grpc import AsyncGuardInterceptor, GuardInterceptor, optional_principal, principal

issuer = os.environ.get("WATCHWORD_URL", "http://localhost:8000")
audience = os.environ.get("API_URL", "http://localhost:8001")
guard = Guard(issuer, audience=audience)
STEP_UP = Policy(acr=("urn:watchword:aal2",), max_age=300)  # a second factor, used within five minutes
RULES: dict[str, Policy] = {
    "/shop.Shop/catalog": Policy(scopes=("orders:read",)),
    "/shop.Shop/orders": Policy(scopes=("orders:read",)),
    "/shop.Shop/reports": Policy(scopes=("orders:read", "reports:read")),
    "/shop.Shop/transfer": STEP_UP,
}
PUBLIC = ("/shop.Shop/public",)
OPTIONAL = ("/shop.Shop/catalog", "/shop.Shop/refund")


def public(request: object, context: Any) -> object:
    return {"hello": "world"}


def catalog(request: object, context: Any) -> object:
    who = optional_principal()
    return {"hello": who.subject if who else "world"}


def whoami(request: object, context: Any) -> object:
    return {"sub": principal().subject, "kind": principal().kind}


def refund(request: object, context: Any) -> object:
    who = guard.demand(optional_principal(), STEP_UP)  # for example above a certain amount
    return {"sub": who.subject, "kind": who.kind}


async def async_public(request: object, context: Any) -> object:
    return public(request, context)


async def async_catalog(request: object, context: Any) -> object:
    return catalog(request, context)


async def async_refund(request: object, context: Any) -> object:
    return refund(request, context)


async def async_whoami(request: object, context: Any) -> object:
    return whoami(request, context)


def handlers(**methods: Any) -> Any:
    methods |= dict.fromkeys(("orders", "reports", "transfer"), methods["whoami"])
    made = {
        name: grpc.unary_unary_rpc_method_handler(
            method, json.loads, lambda answer: json.dumps(answer).encode()
        )
        for name, method in methods.items()
    }
    return grpc.method_handlers_generic_handler("shop.Shop", made)


def make_server() -> Any:
    interceptor = GuardInterceptor(guard, RULES, exclude=PUBLIC, optional=OPTIONAL, origin=audience)
    server = grpc.server(ThreadPoolExecutor(8), interceptors=[interceptor])
    server.add_generic_rpc_handlers([handlers(public=public, catalog=catalog, refund=refund, whoami=whoami)])
    return server


def make_async_server() -> Any:
    interceptor = AsyncGuardInterceptor(guard, RULES, exclude=PUBLIC, optional=OPTIONAL, origin=audience)
    server = grpc.aio.server(interceptors=[interceptor])
    server.add_generic_rpc_handlers(
        [handlers(public=async_public, catalog=async_catalog, refund=async_refund, whoami=async_whoami)]
    )
    return server


if __name__ == "__main__":
    serving = make_server()
    serving.add_insecure_port("127.0.0.1:8001")
    serving.start()
    serving.wait_for_termination()
