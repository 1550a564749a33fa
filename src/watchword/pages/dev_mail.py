"""The mail that `watchword dev` shows on a page because it has no mail server to send it by; the page exists in development only."""

import re

from watchword.flows import mail
from watchword.http import Request, Response
from watchword.oauth.errors import OAuthError
from watchword.pages import browser, render
from watchword.pages.branding import branding_of
from watchword.store import outbox

_LINK = re.compile(r"https?://\S+")


async def show(request: Request) -> Response:
    """Show the newest mails."""
    runtime = request.runtime
    if runtime.settings.mode != "development" or runtime.settings.smtp_url:
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
