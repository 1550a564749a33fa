"""What an API token is limited to: checked as it is given, and for a narrower token against its parent (AP-05)."""

import ipaddress
import re

from watchword.flows.token_verification import is_below
from watchword.networks import read_network
from watchword.oauth.errors import OAuthError
from watchword.oauth.scopes import excess, format_scope, parse_scope
from watchword.store.api_tokens import ApiToken

NO_SCOPE = "Name at least one scope: a token without scope can do nothing."
_PATH = re.compile(r"/[!\x22\x24-\x3e@-~]*")  # visible ASCII without ? and #
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # all but tab and line feed


def note(value: str) -> str:
    """Return a value of a token's metadata; raise `invalid_request` for one with control characters."""
    if _CONTROL.search(value):
        raise OAuthError(
            "invalid_request", "metadata must be text without control characters.", field="metadata"
        )
    return value


def networks(given: list[str]) -> tuple[str, ...]:
    """Return the networks that a token may be used from; raise `invalid_request`."""
    try:
        return tuple(str(read_network(address)) for address in given)
    except ValueError:
        raise OAuthError(
            "invalid_request",
            "addresses must be IP addresses or networks such as 192.0.2.0/24.",
            field="addresses",
        ) from None


def beginning(path: str | None) -> str | None:
    """Return the beginning of the paths that a token reaches; raise `invalid_request`."""
    # With dot segments or characters that no path has, nothing would be below it: the token could never be used.
    if path is not None and (not _PATH.fullmatch(path) or "//" in path or not is_below(path, "/")):
        raise OAuthError(
            "invalid_request", "path must be the beginning of a path, such as /orders.", field="path"
        )
    return path


def thumbprint(jkt: str | None) -> str | None:
    """Return the thumbprint of the key that a token is bound to (RFC 7638); raise `invalid_request`."""
    if jkt is not None and not re.fullmatch(r"[A-Za-z0-9_-]{43}", jkt):
        raise OAuthError(
            "invalid_request",
            "jkt must be the SHA-256 thumbprint of a key in base64url: 43 characters.",
            field="jkt",
        )
    return jkt


def gain(field: str, description: str, code: str = "invalid_request") -> OAuthError:
    """Return the refusal of a token that could do more than its parent: a 403, since the request is well-formed and lacks the right."""
    return OAuthError(code, description, field=field, status=403)


def narrower_scope(parent: ApiToken, scope: str | None) -> str:
    """Return the scope of a narrower token; raise `invalid_scope` for more than its parent has."""
    if scope is None:
        return parent.scope
    wanted = parse_scope(scope)
    if not wanted:
        raise OAuthError("invalid_scope", NO_SCOPE, field="scope")
    if not set(wanted) <= set(parent.scope.split()):
        description = "A narrower token cannot hold a scope that its parent lacks."
        raise excess(description, wanted, parent.scope.split(), status=403)
    return format_scope(wanted)


def narrower_expiry(parent: ApiToken, expires_in: int | None, now: int) -> int | None:
    """Return when a narrower token ends, in Unix seconds; raise `invalid_request` for later than its parent."""
    ends = [now + expires_in] if expires_in is not None else []
    ends += [parent.expires_at] if parent.expires_at is not None else []
    if expires_in is not None and parent.expires_at is not None and now + expires_in > parent.expires_at:
        raise gain("expires_in", "A narrower token cannot outlive its parent.")
    return min(ends) if ends else None


def narrower_networks(parent: ApiToken, addresses: list[str] | None) -> tuple[str, ...]:
    """Return the networks of a narrower token; raise `invalid_request` for more than its parent's."""
    if addresses is None:
        return parent.addresses
    narrower = networks(addresses)
    within = [any(_is_within(network, outer) for outer in parent.addresses) for network in narrower]
    if parent.addresses and not (narrower and all(within)):  # none at all would be every address
        raise gain("addresses", "A narrower token cannot be used from more addresses.")
    return narrower


def _is_within(inner: str, outer: str) -> bool:
    one, other = ipaddress.ip_network(inner), ipaddress.ip_network(outer)
    return one.version == other.version and one.subnet_of(other)  # type: ignore[arg-type]  # same version, checked


def narrower_beginning(parent: ApiToken, path: str | None) -> str | None:
    """Return the beginning of a narrower token's paths; raise `invalid_request` for more than its parent's."""
    if path is None:
        return parent.path
    checked = beginning(path)
    if parent.path is not None and not is_below(path, parent.path):
        raise gain("path", "A narrower token cannot reach more paths.")
    return checked
