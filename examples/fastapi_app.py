"""A shop's API with FastAPI: WATCHWORD_URL=https://auth.example.com API_URL=https://api.example.com uvicorn fastapi_app:app --port 8001"""

import os

from fastapi import FastAPI, WebSocket

from watchword.guard.fastapi import Guard, Policy, Principal

issuer = os.environ.get("WATCHWORD_URL", "http://localhost:8000")
audience = os.environ.get("API_URL", "http://localhost:8001")
guard = Guard(issuer, audience=audience)
STEP_UP = Policy(acr=("urn:watchword:aal2",), max_age=300)  # a second factor, used within five minutes
app = FastAPI()
guard.publish(app, ("orders:read",))


@app.get("/public")
async def public() -> dict[str, str]:
    return {"hello": "world"}


@app.get("/catalog")
async def catalog(who: Principal | None = guard.optional("orders:read")) -> dict[str, str]:
    return {"hello": who.subject if who else "world"}


@app.get("/whoami")
async def whoami(who: Principal = guard.require()) -> dict[str, str]:
    return {"sub": who.subject, "kind": who.kind}


@app.get("/orders")
async def orders(who: Principal = guard.require("orders:read")) -> dict[str, str]:
    return {"sub": who.subject, "kind": who.kind}


@app.get("/reports")
async def reports(who: Principal = guard.require("orders:read", "reports:read")) -> dict[str, str]:
    return {"sub": who.subject, "kind": who.kind}


@app.get("/transfer")
async def transfer(who: Principal = guard.require(policy=STEP_UP)) -> dict[str, str]:
    return {"sub": who.subject, "kind": who.kind}


@app.get("/refund")
async def refund(caller: Principal | None = guard.optional()) -> dict[str, str]:
    who = guard.demand(caller, STEP_UP)  # for example above a certain amount
    return {"sub": who.subject, "kind": who.kind}


@app.websocket("/feed")
async def feed(websocket: WebSocket, who: Principal = guard.require("orders:read")) -> None:
    await websocket.accept()
    await websocket.send_json({"sub": who.subject})
    await websocket.close()
