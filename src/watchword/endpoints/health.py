"""Health: whether the process lives, and whether it can commit a write now."""

import os

from watchword.http import NO_STORE, UNAVAILABLE, Request, Response, json_response
from watchword.store import keys
from watchword.store.database import StorageUnavailable
from watchword.telemetry import count, log

RETRY = (*NO_STORE, (b"retry-after", str(UNAVAILABLE.retry_after).encode()))


async def healthz(_request: Request) -> Response:
    """Answer that the process is alive, without using the database."""
    return json_response(200, {"status": "ok"})


async def readyz(request: Request) -> Response:
    """Answer whether a write can be committed and a token can be signed now."""
    runtime = request.runtime
    try:
        await runtime.database.write(keys.touch, os.urandom(8).hex())
        await runtime.keyring.signing_key(runtime.settings.signing_algorithms[0])
    except (StorageUnavailable, ValueError) as error:
        # Recorded here too, because a balancer sends such a node nothing but health checks.
        count("storage_unavailable")
        log.error("storage.unavailable", path=request.path, reason=str(error))
        return json_response(503, {"status": "unavailable"}, RETRY)
    return json_response(200, {"status": "ready"})
