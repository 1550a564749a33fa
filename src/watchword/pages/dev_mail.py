"""The mail that `watchword dev` shows on a page because it has no mail server to send it by; the page exists in development only."""

import re
from urllib.parse import urlsplit

from watchword.flows import mail
from watchword.http import Request, Response
from watchword.networks import is_loopback
from watchword.oauth.errors import OAuthError
from watchword.pages import browser, render
from watchword.pages.branding import branding_of
from watchword.store import outbox

_LINK = re.compile(r"https?://\S+")
_PORT = re.compile(r":\d*\Z")


async def show(request: Request) -> Response:
    """Show the newest mails."""
    runtime = request.runtime
    is_shown = runtime.settings.mode == "development" and not runtime.settings.smtp_url
    if not is_shown or _is_foreign(request):
        raise OAuthError("not_found", "There is nothing at this address.")
    messages = []
    for outgoing in await runtime.database.read(outbox.list_mail):
        message = mail.read(runtime, outgoing)
        rendered = render.render_mail(
            message.template, message.context, locale=message.locale, branding=branding_of(runtime.settings)
        )
        link = _LINK.search(rendered.body)
        messages.append(
            {
                "to": message.to,
                "subject": rendered.subject,
                "body": rendered.body,
                "at": outgoing.created_at,
                "link": link[0] if link else None,
            }
        )
    return browser.page(request, "dev_mail", {"messages": messages})


def _is_foreign(request: Request) -> bool:
    """Whether the request is for another host: a page of a site whose name came to mean this machine reads what it asks for (DNS rebinding)."""
    host = request.header(b"host") or ""
    own = urlsplit(request.runtime.settings.issuer).netloc
    return host.lower() != own.lower() and not is_loopback(_PORT.sub("", host).strip("[]"))
