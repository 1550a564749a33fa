"""A shop's API with Starlette: WATCHWORD_URL=https://auth.example.com API_URL=https://api.example.com uvicorn starlette_app:app --port 8001"""

import os

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from watchword.guard.starlette import Guard, Policy

issuer = os.environ.get("WATCHWORD_URL", "http://localhost:8000")
audience = os.environ.get("API_URL", "http://localhost:8001")
guard = Guard(issuer, audience=audience)
STEP_UP = Policy(acr=("urn:watchword:aal2",), max_age=300)  # a second factor, used within five minutes


async def public(request: Request) -> JSONResponse:
    return JSONResponse({"hello": "world"})


async def catalog(request: Request) -> JSONResponse:
    who = request.state.principal
    return JSONResponse({"hello": who.subject if who else "world"})


async def whoami(request: Request) -> JSONResponse:
    who = request.state.principal
    return JSONResponse({"sub": who.subject, "kind": who.kind})


async def refund(request: Request) -> JSONResponse:
    who = guard.demand(request.state.principal, STEP_UP)  # for example above a certain amount
    return JSONResponse({"sub": who.subject, "kind": who.kind})


app = Starlette(
    routes=[
        Route("/public", public),
        Route("/catalog", guard.optional("orders:read")(catalog)),
        Route("/whoami", guard.require()(whoami)),
        Route("/orders", guard.require("orders:read")(whoami)),
        Route("/reports", guard.require("orders:read", "reports:read")(whoami)),
        Route("/transfer", guard.require(policy=STEP_UP)(whoami)),
        Route("/refund", guard.optional()(refund)),
        guard.metadata_route(("orders:read",)),
    ]
)
