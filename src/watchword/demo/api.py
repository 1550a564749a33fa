"""The API that the demonstration protects; the guard takes three of its lines."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from watchword.guard.fastapi import Guard, Principal


def make_api(issuer: str) -> FastAPI:
    """Return a small API that accepts the credentials of an issuer."""
    guard = Guard(issuer)

    @asynccontextmanager
    async def lifespan(_api: FastAPI) -> AsyncIterator[None]:
        yield
        await guard.close()  # before the server stops, so that no lost revocation feed is logged

    api = FastAPI(title="Orders", lifespan=lifespan)

    @api.get("/orders")
    async def read_orders(who: Principal = guard.require("orders:read")) -> dict[str, object]:
        return {"orders": ["A-1", "A-2"], "for": who.subject}

    @api.post("/orders", status_code=201)
    async def write_orders(
        who: Principal = guard.require("orders:read", "orders:write"),
    ) -> dict[str, object]:
        return {"created": "A-3", "by": who.subject}

    return api
