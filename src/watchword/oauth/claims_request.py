"""OpenID Connect Core §5.5: the `claims` parameter.

Owns its parsing into a frozen value. Which claims are then released is decided in `claims`.
"""

from collections.abc import Mapping

import msgspec

from watchword.jose.strict_json import StrictJSONError, loads
from watchword.oauth.errors import OAuthError

MAX_LENGTH = 8192
MAX_CLAIMS = 50
MAX_VALUES = 20

Value = str | int | float | bool


class ClaimWish(msgspec.Struct, frozen=True):
    """The request for one claim; without `values` any value will do (§5.5.1)."""

    essential: bool = False
    values: tuple[Value, ...] = ()


class ClaimsRequest(msgspec.Struct, frozen=True):
    """The claims requested by name, for the ID token and for the userinfo response."""

    id_token: Mapping[str, ClaimWish] = {}
    userinfo: Mapping[str, ClaimWish] = {}


NOTHING = ClaimsRequest()


_decode = msgspec.json.Decoder(ClaimsRequest).decode


def read(stored: str) -> ClaimsRequest:
    """Return a request as it was stored with a grant; the empty string requests nothing."""
    return _decode(stored) if stored else NOTHING


def parse(text: str | None) -> ClaimsRequest:
    """Read the `claims` parameter; raise `invalid_request` when it is malformed."""
    if text is None:
        return NOTHING
    if len(text) > MAX_LENGTH:
        raise _invalid("is too long")
    try:
        document = loads(text, max_depth=6)
    except StrictJSONError:
        raise _invalid("is not JSON") from None
    if not isinstance(document, dict):
        raise _invalid("must be a JSON object")
    return ClaimsRequest(_wishes(document.get("id_token")), _wishes(document.get("userinfo")))


def _wishes(section: object) -> dict[str, ClaimWish]:
    if section is None:
        return {}
    if not isinstance(section, dict) or len(section) > MAX_CLAIMS:
        raise _invalid(f"must name at most {MAX_CLAIMS} claims for each place")
    return {name: _wish(wish) for name, wish in section.items()}


def _wish(wish: object) -> ClaimWish:
    if wish is None:
        return ClaimWish()
    if not isinstance(wish, dict):
        raise _invalid("must hold null or an object for each claim")
    essential, values = wish.get("essential", False), wish.get("values", [])
    if not isinstance(essential, bool) or not isinstance(values, list) or len(values) > MAX_VALUES:
        raise _invalid("holds a malformed essential or values")
    if "value" in wish:
        values = [wish["value"], *values]
    if any(not isinstance(value, str | int | float | bool) for value in values):
        raise _invalid("holds a value that is neither string nor number nor boolean")
    return ClaimWish(essential, tuple(values))


def _invalid(problem: str) -> OAuthError:
    return OAuthError("invalid_request", f"The claims parameter {problem}.", field="claims")
