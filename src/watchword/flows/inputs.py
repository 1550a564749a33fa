"""What people and programs enter, in any kind of form: types that bound a text, and checks of texts that people will read."""

from typing import Annotated

import msgspec

from watchword.credentials import names
from watchword.oauth.errors import OAuthError
from watchword.settings import is_resource

Text = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
Uri = Annotated[str, msgspec.Meta(min_length=1, max_length=2000)]


def check_resource(resource: str) -> str:
    """Return an absolute URI that can be a resource indicator (RFC 8707 §2); raise `invalid_target`."""
    if not is_resource(resource):
        raise OAuthError(
            "invalid_target", "A resource must be an absolute URI without a fragment.", field="resource"
        )
    return resource


def check_text(field: str, text: str) -> str:
    """Return a text that people will read; raise `invalid_request` for invisible characters, piles of marks, or spaces around it."""
    if flaw := names.flaw(field, text):
        raise OAuthError("invalid_request", flaw, field=field)
    return text
