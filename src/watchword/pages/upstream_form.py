"""OAuth 2.0 Form Post Response Mode, as the receiver: a provider's answer that comes as a form of its own page.

Theory of operation. Such a form is sent by another site, so it comes without our cookies, and nothing in it is believed or looked at
here. It is sealed as it is, for one provider and two minutes, and the browser is sent to the callback with that: the GET brings the
cookie of the attempt, by which alone an answer belongs to a browser. Whoever makes a browser post here has done no more than
who makes it open the callback's address. The code is never part of an address that a log or a history could keep.
"""

import base64
import os
from collections.abc import Mapping

import msgspec

from watchword.credentials.upstream import UpstreamRefused
from watchword.flows import upstream
from watchword.flows.runtime import Runtime
from watchword.http import Request, Response, redirect
from watchword.oauth.errors import OAuthError

PURPOSE = "upstream answer"
LIFETIME = 120
MEMBERS = ("state", "code", "iss", "error", "user")
MAX_SENT = 5120  # bytes as they are sealed: that makes an address which proxies pass on, who take 8 KiB for the line that begins a request


class Posted(msgspec.Struct, frozen=True):
    """What a provider's form held, and when it came, in Unix seconds."""

    answer: dict[str, str]
    at: int


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Posted).decode


async def receive(request: Request) -> Response:
    """Hand a provider's form on to the callback, where the browser's cookies come with it."""
    runtime, name = request.runtime, request.path_params["name"]
    if not upstream.posts(upstream.configured(runtime, name)):
        raise OAuthError("invalid_request", "This provider answers by the address, not by a form.")
    form = request.form()
    answer = {member: value for member in MEMBERS if (value := form.get(member)) is not None}
    posted = _encode(Posted(answer, runtime.now()))
    if len(posted) > MAX_SENT:
        raise OAuthError("invalid_request", "The answer of the provider is too long.")
    sealed = runtime.root.seal(PURPOSE, name, posted, os.urandom(12))
    text = base64.urlsafe_b64encode(sealed).decode().rstrip("=")
    return redirect(f"{runtime.settings.issuer}/upstream/{name}/callback?answer={text}")


def answer_of(request: Request, name: str) -> Mapping[str, str]:
    """Return what a provider answered, by its form or by the address, as it was asked to; raise UpstreamRefused."""
    sent = request.query().single()
    if not upstream.posts(upstream.configured(request.runtime, name)):
        return sent
    posted = _open(request.runtime, name, sent.get("answer", ""))
    if posted is None:
        raise UpstreamRefused("state", "not by a form, or too late")
    return posted.answer


def _open(runtime: Runtime, name: str, text: str) -> Posted | None:
    try:
        sealed = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        posted = _decode(runtime.root.open(PURPOSE, name, sealed))
    except ValueError:
        return None
    return posted if 0 <= runtime.now() - posted.at < LIFETIME else None
