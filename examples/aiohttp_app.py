"""A shop's API with aiohttp: WATCHWORD_URL=https://auth.example.com API_URL=https://api.example.com python aiohttp_app.py"""

import os

from aiohttp import web

from watchword.guard.aiohttp import PRINCIPAL, Guard, Policy

issuer = os.environ.get("WATCHWORD_URL", "http://localhost:8000")
audience = os.environ.get("API_URL", "http://localhost:8001")
guard = Guard(issuer, audience=audience)
STEP_UP = Policy(acr=("urn:watchword:aal2",), max_age=300)  # a second factor, used within five minutes


async def public(request: web.Request) -> web.Response:
    return web.json_response({"hello": "world"})


@guard.optional("orders:read")
async def catalog(request: web.Request) -> web.Response:
    who = request.get(PRINCIPAL)
    return web.json_response({"hello": who.subject if who else "world"})


@guard.require()
async def whoami(request: web.Request) -> web.Response:
    who = request[PRINCIPAL]
    return web.json_response({"sub": who.subject, "kind": who.kind})


@guard.require("orders:read")
async def orders(request: web.Request) -> web.Response:
    who = request[PRINCIPAL]
    return web.json_response({"sub": who.subject, "kind": who.kind})


class Reports(web.View):
    @guard.require("orders:read", "reports:read")
    async def get(self) -> web.Response:
        who = self.request[PRINCIPAL]
        return web.json_response({"sub": who.subject, "kind": who.kind})


@guard.require(policy=STEP_UP)
async def transfer(request: web.Request) -> web.Response:
    who = request[PRINCIPAL]
    return web.json_response({"sub": who.subject, "kind": who.kind})


@guard.optional()
async def refund(request: web.Request) -> web.Response:
    who = guard.demand(request.get(PRINCIPAL), STEP_UP)  # for example above a certain amount
    return web.json_response({"sub": who.subject, "kind": who.kind})


def make_app() -> web.Application:
    made = web.Application()
    made.router.add_get("/public", public)
    made.router.add_get("/catalog", catalog)
    made.router.add_get("/whoami", whoami)
    made.router.add_get("/orders", orders)
    made.router.add_view("/reports", Reports)
    made.router.add_get("/transfer", transfer)
    made.router.add_get("/refund", refund)
    guard.publish(made, ("orders:read",))
    return made


if __name__ == "__main__":
    web.run_app(make_app(), port=8001)
