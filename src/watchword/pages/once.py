"""A form whose answer shows a secret is accepted once: reloading that page makes no second secret.

The value in the form can be used once across all nodes. It protects people from their own second click and is no defence against
anybody, so a form without it is accepted as well.
"""

import hashlib
import secrets

from watchword.http import Form, Request
from watchword.store.sessions import Session
from watchword.store.tokens import use_identifier

LIFETIME = 86_400


def field() -> dict[str, str]:
    """Return the hidden field of a form that is accepted once."""
    return {"once": secrets.token_urlsafe(16)}


async def is_first(request: Request, session: Session, form: Form, about: str = "") -> bool:
    """Use up a form's value; False when it was sent before. `about` tells the forms of one page apart."""
    sent = form.get("once")
    if sent is None:
        return True
    digest = hashlib.sha256(f"form\n{session.id}\n{about}\n{sent}".encode()).digest()
    until = request.runtime.now() + LIFETIME
    return await request.runtime.database.write(use_identifier, digest, until)
