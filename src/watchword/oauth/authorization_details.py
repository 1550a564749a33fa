"""RFC 9396: rich authorization requests.

Owns the parsing of `authorization_details`, the check against the types that this server knows and the client may use, and narrowing
at the token endpoint. What a detail means is the business of the API that defined its type.
"""

from collections.abc import Mapping, Sequence

import msgspec

from watchword.jose.strict_json import StrictJSONError, loads
from watchword.oauth.errors import OAuthError

MAX_LENGTH = 8192
MAX_DETAILS = 20
LIST_FIELDS = ("locations", "actions", "datatypes", "privileges")  # §2.2

Detail = dict[str, object]
# The shape of a member: the name of a JSON type, [shape of all elements], or {name: shape of the member}.
Shape = str | list["Shape"] | dict[str, "Shape"]
JSON_TYPES: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
}


class DetailType(msgspec.Struct, frozen=True):
    """A type as an API defines it: its own members with their shapes, and the values that it allows in the common list fields (§2.2).

    A list field that `allowed` does not name may not be used; `identifier`, where wanted, is one of `members`. An object may lack
    members of its shape, but has no others.
    """

    members: Mapping[str, Shape] = msgspec.field(default_factory=dict)
    required: frozenset[str] = frozenset()
    allowed: Mapping[str, frozenset[str]] = msgspec.field(default_factory=dict)


def parse(text: str, types: Mapping[str, DetailType], registered: tuple[str, ...]) -> tuple[Detail, ...]:
    """Read and check `authorization_details`; raise `invalid_authorization_details` (§5)."""
    if len(text) > MAX_LENGTH:
        raise _invalid("is too long")
    try:
        details = loads(text, max_depth=8)
    except StrictJSONError:
        raise _invalid("is not JSON") from None
    if not isinstance(details, list) or not 0 < len(details) <= MAX_DETAILS:  # §2
        raise _invalid(f"must be a list of 1 to {MAX_DETAILS} objects")
    return tuple(_checked(detail, types, registered) for detail in details)


def _checked(detail: object, types: Mapping[str, DetailType], registered: tuple[str, ...]) -> Detail:
    name = detail.get("type") if isinstance(detail, dict) else None
    if not isinstance(detail, dict) or not isinstance(name, str):
        raise _invalid("holds an entry without a type")
    known = types.get(name)
    if known is None or name not in registered:  # §5: unknown type, or one that the client may not use
        raise _invalid("holds a type that is not known here or not registered for this client")
    if not known.required <= detail.keys():
        raise _invalid("lacks a member that its type requires")
    for member, value in detail.items():
        if member in known.allowed:
            _check_list(value, known.allowed[member])
        elif member != "type":
            if member not in known.members or member in LIST_FIELDS:
                raise _invalid("holds a member that its type does not have")
            if not has_shape(value, known.members[member]):
                raise _invalid("holds a member whose value is not of the type that is defined for it")
    return detail


def has_shape(value: object, shape: Shape) -> bool:
    """Whether a value has a shape; a boolean is not a number, as it is in Python."""
    if isinstance(shape, str):
        return isinstance(value, JSON_TYPES[shape]) and (shape == "boolean" or not isinstance(value, bool))
    if isinstance(shape, list):
        return isinstance(value, list) and all(has_shape(one, shape[0]) for one in value)
    return isinstance(value, dict) and all(
        name in shape and has_shape(one, shape[name]) for name, one in value.items()
    )


def _check_list(value: object, allowed: frozenset[str]) -> None:
    if not isinstance(value, list) or not value or any(not isinstance(one, str) for one in value):
        raise _invalid("holds a field that must be a list of strings")
    if not allowed.issuperset(value):
        raise _invalid("holds a value that its type does not have")


def is_within(requested: tuple[Detail, ...], granted: tuple[Detail, ...]) -> bool:
    """Whether each requested detail is one of the granted, with the same or fewer values in its list fields (§6.1).

    Each granted detail covers one requested detail: who agreed to one payment did not agree to two. So this looks for a matching
    between the two lists, by augmenting paths.
    """
    matched: dict[int, int] = {}  # the requested detail that each granted one covers, by index
    return all(_match(index, requested, granted, matched, set()) for index in range(len(requested)))


def _match(
    index: int,
    requested: tuple[Detail, ...],
    granted: tuple[Detail, ...],
    matched: dict[int, int],
    tried: set[int],
) -> bool:
    """Match one requested detail with a granted one, re-matching others where they fit elsewhere too."""
    for place, detail in enumerate(granted):
        if place in tried or not _fits(requested[index], detail):
            continue
        tried.add(place)
        if place not in matched or _match(matched[place], requested, granted, matched, tried):
            matched[place] = index
            return True
    return False


def narrow(
    text: str | None,
    granted: tuple[Detail, ...],
    types: Mapping[str, DetailType],
    registered: tuple[str, ...],
) -> tuple[Detail, ...]:
    """Return the details of a token: those that the token request names, else all that are granted; raise as `parse` (§6)."""
    if text is None:
        return granted
    requested = parse(text, types, registered)
    if not is_within(requested, granted):
        raise _invalid("exceeds what was granted")
    return requested


def remaining(
    granted: tuple[Detail, ...], types: Mapping[str, DetailType], registered: tuple[str, ...]
) -> tuple[Detail, ...]:
    """Return the granted details whose types the server still knows and the client may still use."""
    return tuple(detail for detail in granted if detail["type"] in types and detail["type"] in registered)


def refuse(text: str | None) -> None:
    """Refuse details in a grant that supports none: if they were ignored, the client would believe they were granted (§5)."""
    if text is not None:
        raise _invalid("is not supported by this grant")


def check_registered(names: Sequence[str], types: Mapping[str, DetailType]) -> None:
    """Check the types that a client registers (§10); raise `invalid_client_metadata`."""
    if not set(names) <= types.keys():
        raise OAuthError(
            "invalid_client_metadata",
            "authorization_details_types names a type that is not among the server's authorization_details.",
            field="authorization_details_types",
        )


def _fits(requested: Detail, granted: Detail) -> bool:
    if requested.keys() != granted.keys():
        return False
    for member, value in requested.items():
        other = granted[member]
        if member in LIST_FIELDS and isinstance(value, list) and isinstance(other, list):
            if not value or any(one not in other for one in value):
                return False
        elif value != other:
            return False
    return True


def _invalid(problem: str) -> OAuthError:
    return OAuthError(
        "invalid_authorization_details", f"authorization_details {problem}.", field="authorization_details"
    )
