"""A shop's API with Litestar: WATCHWORD_URL=https://auth.example.com API_URL=https://api.example.com litestar --app litestar_app:app run --port 8001"""

import os
from typing import Any

from litestar import Litestar, Request, get

from watchword.guard.litestar import Guard, Policy

issuer = os.environ.get("WATCHWORD_URL", "http://localhost:8000")
audience = os.environ.get("API_URL", "http://localhost:8001")
guard = Guard(issuer, audience=audience)
STEP_UP = Policy(acr=("urn:watchword:aal2",), max_age=300)  # a second factor, used within five minutes


@get("/public")
async def public() -> dict[str, str]:
    return {"hello": "world"}


@get("/catalog", guards=[guard.optional("orders:read")])
async def catalog(request: Request[Any, Any, Any]) -> dict[str, str]:
    who = request.state.principal
    return {"hello": who.subject if who else "world"}


@get("/whoami", guards=[guard.require()])
async def whoami(request: Request[Any, Any, Any]) -> dict[str, str]:
    who = request.state.principal
    return {"sub": who.subject, "kind": who.kind}


@get("/orders", guards=[guard.require("orders:read")])
async def orders(request: Request[Any, Any, Any]) -> dict[str, str]:
    who = request.state.principal
    return {"sub": who.subject, "kind": who.kind}


@get("/reports", guards=[guard.require("orders:read", "reports:read")])
async def reports(request: Request[Any, Any, Any]) -> dict[str, str]:
    who = request.state.principal
    return {"sub": who.subject, "kind": who.kind}


@get("/transfer", guards=[guard.require(policy=STEP_UP)])
async def transfer(request: Request[Any, Any, Any]) -> dict[str, str]:
    who = request.state.principal
    return {"sub": who.subject, "kind": who.kind}


@get("/refund", guards=[guard.optional()])
async def refund(request: Request[Any, Any, Any]) -> dict[str, str]:
    who = guard.demand(request.state.principal, STEP_UP)  # for example above a certain amount
    return {"sub": who.subject, "kind": who.kind}


app = Litestar(
    [public, catalog, whoami, orders, reports, transfer, refund, guard.metadata_handler(("orders:read",))]
)
