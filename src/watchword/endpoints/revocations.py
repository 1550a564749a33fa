"""The revocation feed, as server-sent events or page by page; public, since its marks mean nothing without the tokens."""

from collections.abc import AsyncIterator

from watchword.flows.revocation_feed import RevocationFeed, Signed
from watchword.http import NO_STORE, Request, Response, Stream
from watchword.store.database import StorageUnavailable
from watchword.telemetry import log

EVENTS = b"text/event-stream"
JWT = (b"content-type", b"application/jwt")
# A proxy that collects events before it passes them on would make them late
UNBUFFERED = (b"x-accel-buffering", b"no")


async def revocations(request: Request) -> Response:
    """Answer with the page after a position, or for `Accept: text/event-stream` with that page and all that follow."""
    feed = request.runtime.feed
    after = request.query().get("after") or request.header(b"last-event-id") or ""
    if EVENTS not in request.headers.get(b"accept", b"").lower():
        return Response(200, (await feed.page(after)).token.encode(), (JWT, *NO_STORE))
    left = feed.admit(request.address)
    headers = ((b"content-type", EVENTS), (b"cache-control", b"no-store, no-transform"), UNBUFFERED)
    return Response(200, b"", headers, Stream(_events(feed, after), left))


async def _events(feed: RevocationFeed, after: str) -> AsyncIterator[bytes]:
    try:
        async for signed in feed.follow(after):
            yield _event(signed)
    except StorageUnavailable as error:  # the end of the stream tells the follower that something is wrong
        log.warning("revocation_feed.silent", reason=error.reason)


def _event(signed: Signed) -> bytes:
    return f"id: {signed.page.position}\ndata: {signed.token}\n\n".encode()
