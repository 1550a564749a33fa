"""A shop's API with Flask: WATCHWORD_URL=https://auth.example.com API_URL=https://api.example.com gunicorn -b :8001 flask_app:app"""

import os

from flask import Flask, g

from watchword.guard.flask import Guard, Policy

issuer = os.environ.get("WATCHWORD_URL", "http://localhost:8000")
audience = os.environ.get("API_URL", "http://localhost:8001")
guard = Guard(issuer, audience=audience)
STEP_UP = Policy(acr=("urn:watchword:aal2",), max_age=300)  # a second factor, used within five minutes
app = Flask(__name__)
guard.publish(app, ("orders:read",))


@app.get("/public")
def public() -> dict[str, str]:
    return {"hello": "world"}


@app.get("/catalog")
@guard.optional("orders:read")
def catalog() -> dict[str, str]:
    return {"hello": g.principal.subject if g.principal else "world"}


@app.get("/whoami")
@guard.require()
def whoami() -> dict[str, str]:
    return {"sub": g.principal.subject, "kind": g.principal.kind}


@app.get("/orders")
@guard.require("orders:read")
def orders() -> dict[str, str]:
    return {"sub": g.principal.subject, "kind": g.principal.kind}


@app.get("/reports")
@guard.require("orders:read", "reports:read")
def reports() -> dict[str, str]:
    return {"sub": g.principal.subject, "kind": g.principal.kind}


@app.get("/transfer")
@guard.require(policy=STEP_UP)
def transfer() -> dict[str, str]:
    return {"sub": g.principal.subject, "kind": g.principal.kind}


@app.get("/refund")
@guard.optional()
def refund() -> dict[str, str]:
    who = guard.demand(g.principal, STEP_UP)  # for example above a certain amount
    return {"sub": who.subject, "kind": who.kind}
