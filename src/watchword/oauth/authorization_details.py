"""RFC 9396: rich authorization requests.

Owns the reading of `authorization_details`, the check against the types that this server knows and the client may use, and what of
a grant is left when a token is asked for with less. What a detail means is the business of the API that defined its type.
"""

from collections.abc import Mapping, Sequence

import msgspec

from watchword.jose.strict_json import StrictJSONError, loads
from watchword.oauth.errors import OAuthError

MAX_LENGTH = 8192
MAX_DETAILS = 20
LIST_FIELDS = ("locations", "actions", "datatypes", "privileges")  # §2.2

Detail = dict[str, object]
# What a member may be: the name of a JSON type, a list of one shape, or the members of an object.
Shape = str | list["Shape"] | dict[str, "Shape"]
JSON_TYPES: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
}


class DetailType(msgspec.Struct, frozen=True):
    """A type as an API defines it: its own members with their shapes, and of the common list fields the values that it knows.

    A common field that is not named in `allowed` may not be used; `identifier` is one of `members` where it is wanted. An
    object has at most the members of its shape.
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
        raise _invalid("lacks a member that its type demands")
    for member, value in detail.items():
        if member in known.allowed:
            _check_list(value, known.allowed[member])
        elif member != "type":
            if member not in known.members or member in LIST_FIELDS:
                raise _invalid("holds a member that its type does not have")
            if not has_shape(value, known.members[member]):
                raise _invalid("holds a member of another shape than its type defines")
    return detail


def has_shape(value: object, shape: Shape) -> bool:
    """Whether a value is what a shape describes; a truth value is no number."""
    if isinstance(shape, str):
        return isinstance(value, JSON_TYPES[shape]) and (shape == "boolean" or not isinstance(value, bool))
    if isinstance(shape, list):
        return isinstance(value, list) and all(has_shape(one, shape[0]) for one in value)
    return isinstance(value, dict) and all(
        name in shape and has_shape(one, shape[name]) for name, one in value.items()
    )


def _check_list(value: object, allowed: frozenset[str]) -> None:
    if not isinstance(value, list) or not value or any(not isinstance(one, str) for one in value):
        raise _invalid("holds a field that must be a list of texts")
    if not allowed.issuperset(value):
        raise _invalid("holds a value that its type does not have")


def is_within(requested: tuple[Detail, ...], granted: tuple[Detail, ...]) -> bool:
    """Whether each requested detail is one of the granted, with the same or fewer values in its list fields (§6.1).

    One that was granted stands for one: who agreed to a payment did not agree to two of them.
    """
    taken: dict[int, int] = {}
    return all(_place(number, requested, granted, taken, set()) for number in range(len(requested)))


def _place(
    number: int,
    requested: tuple[Detail, ...],
    granted: tuple[Detail, ...],
    taken: dict[int, int],
    tried: set[int],
) -> bool:
    """Find a place among the granted for one requested, moving others that fit elsewhere too."""
    for place, other in enumerate(granted):
        if place in tried or not _fits(requested[number], other):
            continue
        tried.add(place)
        if place not in taken or _place(taken[place], requested, granted, taken, tried):
            taken[place] = number
            return True
    return False


def narrow(
    text: str | None,
    granted: tuple[Detail, ...],
    types: Mapping[str, DetailType],
    registered: tuple[str, ...],
) -> tuple[Detail, ...]:
    """Return the details of a token: all that is granted, or what a token request names of it; raise as `parse` (§6)."""
    if text is None:
        return granted
    requested = parse(text, types, registered)
    if not is_within(requested, granted):
        raise _invalid("exceeds what was granted")
    return requested


def remaining(
    granted: tuple[Detail, ...], types: Mapping[str, DetailType], registered: tuple[str, ...]
) -> tuple[Detail, ...]:
    """Return what is left of a grant whose client or operator may have given up types since."""
    return tuple(detail for detail in granted if detail["type"] in types and detail["type"] in registered)


def refuse(text: str | None) -> None:
    """Refuse details where a grant gives none: dropped in silence, the client would take them for granted (§5)."""
    if text is not None:
        raise _invalid("is not given by this grant")


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
