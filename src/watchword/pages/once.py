"""A form whose answer shows a secret is accepted once: reloading that page makes no second secret.

The value in the form can be used once across all nodes, and is used up by the write that the form asks for: where the database fails, both
are undone, and the form can be sent again. It protects people from their own second click and is no defence against
anybody, so a form without it is accepted as well.
"""

import hashlib
import secrets

from watchword.flows import acting
from watchword.flows.runtime import Runtime
from watchword.http.forms import Form
from watchword.oauth.errors import OAuthError
from watchword.store.sessions import Session

LIFETIME = 86_400


def field() -> dict[str, str]:
    """Return the hidden field of a form that is accepted once."""
    return {"once": secrets.token_urlsafe(16)}


class SentBefore(OAuthError):
    """Nothing was done: the form was sent before, and its answer showed the secret."""

    def __init__(self) -> None:
        super().__init__("invalid_request", "This form was sent before.", field="once")


def runtime_for(runtime: Runtime, session: Session, form: Form, about: str = "") -> Runtime:
    """Return a runtime for the one write that a form asks for, which raises SentBefore where it was sent before.

    `about` tells the forms of one page apart.
    """
    sent = form.get("once")
    if sent is None:
        return runtime
    digest = hashlib.sha256(f"form\n{session.id}\n{about}\n{sent}".encode()).digest()
    return acting.runtime_once(runtime, digest, runtime.now() + LIFETIME, SentBefore())
