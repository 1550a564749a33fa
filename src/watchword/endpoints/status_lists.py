"""draft-ietf-oauth-status-list §8: the signed status lists, public and cacheable."""

from watchword.http import Request, Response, wanted_types
from watchword.oauth import status_list
from watchword.oauth.errors import OAuthError

ACCEPTED = (status_list.MEDIA_TYPE, "application/*", "*/*", "")


async def show(request: Request) -> Response:
    """Answer with a list as a JWT (§8.1); no other format is supported, and no historical list (§8.4)."""
    wanted = wanted_types(request.header(b"accept") or "")
    if not any(wanted.get(kind) for kind in ACCEPTED):
        raise OAuthError("not_acceptable", "Status lists are served as application/statuslist+jwt only.")
    if request.query().has("time"):
        raise OAuthError("not_implemented", "Historical status lists are not kept.", field="time")
    served = await request.runtime.statuses.serve(request.path_params["id"])
    fresh = request.runtime.settings.status_list_ttl // 2
    headers = (
        (b"content-type", status_list.MEDIA_TYPE.encode()),
        (b"cache-control", b"public, max-age=%d" % fresh),
        (b"etag", served.etag),
        (b"vary", b"accept"),
    )
    if request.has_copy(served.etag):
        return Response(304, b"", headers[1:])
    return Response(200, served.token, headers)
