"""A shop's API with Falcon: WATCHWORD_URL=https://auth.example.com API_URL=https://api.example.com gunicorn -b :8001 falcon_app:app

The same on ASGI, with `arequire` and `aoptional`, is `falcon_app:async_app` for uvicorn.
"""

import os
from typing import Any

import falcon
import falcon.asgi

from watchword.guard.falcon import Guard, Policy

issuer = os.environ.get("WATCHWORD_URL", "http://localhost:8000")
audience = os.environ.get("API_URL", "http://localhost:8001")
guard = Guard(issuer, audience=audience)
STEP_UP = Policy(acr=("urn:watchword:aal2",), max_age=300)  # a second factor, used within five minutes
NEEDS: dict[str, Policy] = {
    "/whoami": Policy(),
    "/orders": Policy(scopes=("orders:read",)),
    "/reports": Policy(scopes=("orders:read", "reports:read")),
    "/transfer": STEP_UP,
}


def resource(policy: Policy) -> object:
    class Resource:
        @falcon.before(guard.require(policy=policy))
        def on_get(self, req: Any, resp: Any) -> None:
            who = req.context.principal
            resp.media = {"sub": who.subject, "kind": who.kind}

    return Resource()


def async_resource(policy: Policy) -> object:
    class Resource:
        @falcon.before(guard.arequire(policy=policy))
        async def on_get(self, req: Any, resp: Any) -> None:
            who = req.context.principal
            resp.media = {"sub": who.subject, "kind": who.kind}

    return Resource()


class Catalog:
    @falcon.before(guard.optional("orders:read"))
    def on_get(self, req: Any, resp: Any) -> None:
        who = req.context.principal
        resp.media = {"hello": who.subject if who else "world"}


class AsyncCatalog:
    @falcon.before(guard.aoptional("orders:read"))
    async def on_get(self, req: Any, resp: Any) -> None:
        who = req.context.principal
        resp.media = {"hello": who.subject if who else "world"}


class Refund:
    @falcon.before(guard.optional())
    def on_get(self, req: Any, resp: Any) -> None:
        who = guard.demand(req.context.principal, STEP_UP)  # for example above a certain amount
        resp.media = {"sub": who.subject, "kind": who.kind}


class AsyncRefund:
    @falcon.before(guard.aoptional())
    async def on_get(self, req: Any, resp: Any) -> None:
        who = guard.demand(req.context.principal, STEP_UP)
        resp.media = {"sub": who.subject, "kind": who.kind}


class Public:
    def on_get(self, req: Any, resp: Any) -> None:
        resp.media = {"hello": "world"}


class AsyncPublic:
    async def on_get(self, req: Any, resp: Any) -> None:
        resp.media = {"hello": "world"}


app = falcon.App()
app.add_route("/public", Public())
app.add_route("/catalog", Catalog())
app.add_route("/refund", Refund())
guard.publish(app, ("orders:read",))
async_app = falcon.asgi.App()
async_app.add_route("/public", AsyncPublic())
async_app.add_route("/catalog", AsyncCatalog())
async_app.add_route("/refund", AsyncRefund())
guard.publish(async_app, ("orders:read",))
for path, needed in NEEDS.items():
    app.add_route(path, resource(needed))
    async_app.add_route(path, async_resource(needed))
