"""RFC 6750: the Authorization header and its challenge; also RFC 9449 §7, RFC 9470 §3 and RFC 9728 §5.1.

Owns how a token is presented and the form of a challenge. Whether a token is valid is decided elsewhere.
"""

import re
from collections.abc import Mapping, Sequence

import msgspec

from watchword.oauth.errors import OAuthError

MAX_TOKEN = 16 * 1024
REALM = 'realm="api"'  # §3: the scheme "MUST be followed by one or more auth-param values"

_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")  # RFC 6750 §2.1, b64token
_ANOTHER = re.compile(r",\s*[A-Za-z]+ ")
_UNQUOTABLE = re.compile(r"[^\x20-\x21\x23-\x5b\x5d-\x7e]")


class PresentedToken(msgspec.Struct, frozen=True):
    """A token as presented; `scheme` is "bearer" or "dpop"."""

    scheme: str
    token: str


def read_authorization(headers: Sequence[str]) -> PresentedToken | None:
    """Return the token of the Authorization headers of a request, None when there is none, also after the name of its scheme.

    Raise `invalid_request` for several headers and `invalid_token` for what can be no token (§3.1).
    """
    if not headers:
        return None
    if len(headers) > 1:  # §2: one method, once
        raise OAuthError("invalid_request", "The Authorization header was sent more than once.")
    scheme, _, rest = headers[0].partition(" ")
    token = rest.strip(" ")
    if scheme.lower() not in ("bearer", "dpop") or not token:
        return None
    if _ANOTHER.search(token):  # §2: CGI and WSGI gateways join repeated headers by a comma (RFC 9110 §5.3)
        raise OAuthError("invalid_request", "The Authorization header was sent more than once.")
    return PresentedToken(scheme.lower(), _checked(token))


def scheme_to_name(headers: Sequence[str]) -> str:
    """Return the scheme for the challenge to a request: DPoP where its sender knows that (RFC 9449 §7.1), otherwise Bearer."""
    return "DPoP" if [header.partition(" ")[0].lower() for header in headers] == ["dpop"] else "Bearer"


def token_type(claims: Mapping[str, object]) -> str:
    """Return the type of a token with these claims: DPoP where a key confirms it (RFC 9449 §5, §6), otherwise Bearer."""
    cnf = claims.get("cnf")
    return "DPoP" if isinstance(cnf, Mapping) and "jkt" in cnf else "Bearer"


def read_request(
    headers: Sequence[str], *, body_token: str | None = None, query_token: str | None = None
) -> PresentedToken | None:
    """Return the token of a request that may also carry it in its body (§2.2), None when there is none.

    `body_token` and `query_token` are the parameters `access_token` of body and query, None where absent. Raise
    `invalid_request` for a token in the query or in several places, and what `read_authorization` raises.
    """
    if query_token is not None:  # OAuth 2.1 §5.1.1, RFC 9700 §4.3.2
        raise OAuthError("invalid_request", "An access token must not be sent in the query.")
    if headers and body_token is not None:  # §2
        raise OAuthError("invalid_request", "Send the access token in one way, once.")
    if body_token is not None:
        return PresentedToken("bearer", _checked(body_token))
    return read_authorization(headers)


def _checked(token: str) -> str:
    if len(token) > MAX_TOKEN or not _TOKEN.fullmatch(token):
        raise OAuthError("invalid_token", "The access token is malformed.")
    return token


def challenge(scheme: str, parameters: Mapping[str, str | None]) -> str:
    """Return a `WWW-Authenticate` value: a scheme and its parameters without those that are None; a realm where no other is left."""
    # §3: no quote, backslash or control character can end the quoted string
    given = [
        f'{name}="{_UNQUOTABLE.sub("?", value)}"' for name, value in parameters.items() if value is not None
    ]
    return f"{scheme} {', '.join(given or (REALM,))}"
