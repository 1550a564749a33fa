"""RFC 6749 §4.1.2 and RFC 9207: the authorization response.

Owns the parameters of success and error and the address that carries them. The page that posts a `form_post` response is
rendered elsewhere.
"""

import re
from collections.abc import Mapping
from urllib.parse import quote

from watchword.oauth.errors import OAuthError

_UNRESERVED = re.compile(r"[A-Za-z0-9_.~-]*")  # RFC 3986 §2.3: what codes and most states are made of


def response_parameters(
    *, issuer: str, state: str | None, code: str | None = None, error: OAuthError | None = None
) -> dict[str, str]:
    """Return the parameters of a response: either a code or an error, always with `iss` (RFC 9207 §2)."""
    if (code is None) == (error is None):
        raise ValueError("an authorization response carries a code or an error")
    parameters: dict[str, str] = {}
    if code is not None:
        parameters["code"] = code
    if error is not None:
        parameters |= {"error": error.code, "error_description": error.description}
    if state is not None:
        parameters["state"] = state
    return {**parameters, "iss": issuer}


def response_location(redirect_uri: str, parameters: Mapping[str, str]) -> str:
    """Return a verified redirect URI with the parameters added to its query; the rest of it stays as registered."""
    query = "&".join([f"{name}={_encoded(value)}" for name, value in parameters.items()])
    if "?" not in redirect_uri:
        return f"{redirect_uri}?{query}"
    joint = "" if redirect_uri.endswith(("?", "&")) else "&"
    return f"{redirect_uri}{joint}{query}"


def _encoded(value: str) -> str:
    return value if _UNRESERVED.fullmatch(value) else quote(value, safe="")
