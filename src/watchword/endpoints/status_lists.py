"""draft-ietf-oauth-status-list §8: the signed status lists, for everybody, and for caches."""

from watchword.http import Request, Response
from watchword.oauth import status_list
from watchword.oauth.errors import OAuthError

MEDIA_TYPE = status_list.MEDIA_TYPE.encode()
ACCEPTED = frozenset({MEDIA_TYPE, b"application/*", b"*/*", b""})


async def show(request: Request) -> Response:
    """Answer a list as a JWT (§8.1); there is no other form of it here, and no list of a time that is over (§8.4)."""
    if not ACCEPTED & _asked(request.headers.get(b"accept", b"")):
        raise OAuthError("not_acceptable", "Status lists are served as application/statuslist+jwt only.")
    if request.query().has("time"):
        raise OAuthError("not_found", "Status lists of former times are not kept.", field="time")
    served = await request.runtime.statuses.serve(request.path_params["id"])
    fresh = request.runtime.settings.status_list_ttl // 2
    headers = (
        (b"content-type", MEDIA_TYPE),
        (b"cache-control", b"public, max-age=%d" % fresh),
        (b"etag", served.etag),
        (b"vary", b"accept"),
    )
    known = [
        one.strip().removeprefix(b"W/") for one in request.headers.get(b"if-none-match", b"").split(b",")
    ]
    if served.etag in known or b"*" in known:
        return Response(304, b"", headers[1:])
    return Response(200, served.token, headers)


def _asked(accept: bytes) -> set[bytes]:
    """Return the media types that are accepted; one with `q=0` is not."""
    parts = [one.strip().lower().partition(b";") for one in accept.split(b",")]
    return {kind.strip() for kind, _, rest in parts if rest.replace(b" ", b"") not in (b"q=0", b"q=0.0")}
