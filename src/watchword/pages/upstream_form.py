"""OAuth 2.0 Form Post Response Mode, as the receiver: a provider's answer posted by a form on the provider's page.

Theory of operation. Another site sends the form, so it comes without our cookies, and nothing in it is trusted or examined here. It is
sealed as it is, for one provider and two minutes, and the browser is redirected to the callback with it: that GET brings the cookie of
the attempt, which alone ties an answer to a browser. Making a browser post here thus achieves no more than making it open the callback.
The code never appears readable in a URL that a log or a history could keep.
"""

from collections.abc import Mapping

import msgspec

from watchword.credentials.upstream import UpstreamRefused
from watchword.flows.runtime import Runtime
from watchword.flows.upstream import provider_sign_in
from watchword.http import Request, Response, redirect
from watchword.oauth.errors import OAuthError

PURPOSE = "upstream answer"
LIFETIME = 120
MEMBERS = ("state", "code", "iss", "error", "user")
MAX_SENT = 5120  # bytes before sealing: base64 and the rest of the URL stay within the 8 KiB that proxies take for a request line


class Posted(msgspec.Struct, frozen=True):
    """The members of a provider's form, and when it came, in Unix seconds."""

    answer: dict[str, str]
    at: int


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Posted).decode


async def receive(request: Request) -> Response:
    """Pass a provider's form on to the callback, which the browser sends its cookies to."""
    runtime, name = request.runtime, request.path_params["name"]
    if not provider_sign_in.posts(provider_sign_in.configured(runtime, name)):
        raise OAuthError("invalid_request", "This provider answers by the address, not by a form.")
    form = request.form()
    answer = {member: value for member in MEMBERS if (value := form.get(member)) is not None}
    posted = _encode(Posted(answer, runtime.now()))
    if len(posted) > MAX_SENT:
        raise OAuthError("invalid_request", "The answer of the provider is too long.")
    text = runtime.root.seal_text(PURPOSE, name, posted)
    return redirect(f"{runtime.settings.issuer}/upstream/{name}/callback?answer={text}")


def answer_of(request: Request, name: str) -> Mapping[str, str]:
    """Return a provider's answer, from its form or from the query, whichever it was asked to use; raise UpstreamRefused."""
    sent = request.query().single()
    if not provider_sign_in.posts(provider_sign_in.configured(request.runtime, name)):
        return sent
    posted = _open(request.runtime, name, sent.get("answer", ""))
    if posted is None:
        raise UpstreamRefused("state", "not by a form, or too late")
    return posted.answer


def _open(runtime: Runtime, name: str, text: str) -> Posted | None:
    try:
        posted = _decode(runtime.root.open_text(PURPOSE, name, text))
    except ValueError:
        return None
    return posted if runtime.is_young(posted.at, LIFETIME) else None
