"""OpenID Connect Core §5.3: the userinfo endpoint."""

import msgspec

from watchword.flows import caller, userinfo
from watchword.flows.client_auth import Credentials
from watchword.http import FORM_TYPE, NO_STORE, Request, Response


async def answer(request: Request) -> Response:
    """Answer with the claims of the granted scopes (§5.4), plain, signed or encrypted as the client registered."""
    runtime = request.runtime
    who = await caller.authenticate(runtime, _credentials(request), request.path, any_audience=True)
    client, told = await userinfo.claims_for(runtime, who)
    body, media_type = await userinfo.encode(runtime, client, told)
    return Response(200, body, ((b"content-type", media_type.encode()), *NO_STORE))


def _credentials(request: Request) -> Credentials:
    """Return the caller's credentials: the header, or the token in a form (RFC 6750 §2.2), never both and never the query."""
    credentials = request.credentials()
    is_form = request.headers.get(b"content-type", b"").partition(b";")[0].strip().lower() == FORM_TYPE
    sent = request.form().get("access_token") if request.method == "POST" and is_form else None
    query = request.query().get("access_token")
    if sent is None and query is None:
        return credentials
    found = caller.read(credentials.authorization, body_token=sent, query_token=query)
    return msgspec.structs.replace(credentials, authorization=f"Bearer {found.token}")
