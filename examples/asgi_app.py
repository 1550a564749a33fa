"""A shop's API in plain ASGI: WATCHWORD_URL=https://auth.example.com API_URL=https://api.example.com uvicorn asgi_app:app --port 8001"""

import json
import os

from watchword.guard import Guard, Policy, Principal, Refused
from watchword.guard.asgi import (
    Application,
    GuardMiddleware,
    MetadataMiddleware,
    Receive,
    Scope,
    Send,
    answer,
)

issuer = os.environ.get("WATCHWORD_URL", "http://localhost:8000")
audience = os.environ.get("API_URL", "http://localhost:8001")
guard = Guard(issuer, audience=audience)
STEP_UP = Policy(acr=("urn:watchword:aal2",), max_age=300)  # a second factor, used within five minutes


async def public(scope: Scope, receive: Receive, send: Send) -> None:
    await _answer(send, {"hello": "world"})


async def nothing(scope: Scope, receive: Receive, send: Send) -> None:
    await _answer(send, {"error": "not found"}, 404)


async def whoami(scope: Scope, receive: Receive, send: Send) -> None:
    who: Principal = scope["principal"]
    await _answer(send, {"sub": who.subject, "kind": who.kind})


async def catalog(scope: Scope, receive: Receive, send: Send) -> None:
    who: Principal | None = scope["principal"]
    await _answer(send, {"hello": who.subject if who else "world"})


async def refund(scope: Scope, receive: Receive, send: Send) -> None:
    try:
        who = guard.demand(scope["principal"], STEP_UP)  # for example above a certain amount
    except Refused as refused:
        await answer(refused, scope, send)
    else:
        await _answer(send, {"sub": who.subject, "kind": who.kind})


ROUTES: dict[str, Application] = {
    "/public": public,
    "/catalog": GuardMiddleware(catalog, guard, Policy(scopes=("orders:read",)), optional=True),
    "/whoami": GuardMiddleware(whoami, guard),
    "/orders": GuardMiddleware(whoami, guard, Policy(scopes=("orders:read",))),
    "/reports": GuardMiddleware(whoami, guard, Policy(scopes=("orders:read", "reports:read"))),
    "/transfer": GuardMiddleware(whoami, guard, STEP_UP),
    "/refund": GuardMiddleware(refund, guard, optional=True),
}


async def shop(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] in ("http", "websocket"):
        await ROUTES.get(scope["path"], nothing)(scope, receive, send)


app = MetadataMiddleware(shop, guard, ("orders:read",))


async def _answer(send: Send, document: object, status: int = 200) -> None:
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps(document).encode()})
