"""The API that the demonstration protects: three lines of it are the guard."""

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
        await guard.close()  # the server goes next: nobody need hear that its feed was cut off

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
