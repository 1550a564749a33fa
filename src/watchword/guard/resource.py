"""RFC 9728: a protected resource tells clients where to get its tokens.

Owns the metadata document, its address, and its response headers; each framework's module publishes it in one line.
"""

import json
from collections.abc import Sequence
from typing import Protocol
from urllib.parse import unquote, urlsplit

from watchword.guard.misuse import check_address, check_guard, check_scopes

WELL_KNOWN = "/.well-known/oauth-protected-resource"
CONTENT_TYPE = "application/json"
# Every script may read it: it is for those who have no token yet.
HEADERS = {"Cache-Control": "max-age=300", "Access-Control-Allow-Origin": "*"}


class Publisher(Protocol):
    """The parts of a guard that its metadata describes."""

    audience: str

    @property
    def issuers(self) -> tuple[str, ...]:
        """Every issuer that is trusted."""

    def publish_metadata(self, metadata: "Metadata") -> None:
        """Name the address of the metadata in challenges from now on."""


class Metadata:
    """The metadata of the resource that a guard protects; `scopes` are the least that its basic use needs."""

    def __init__(self, guard: Publisher, scopes: Sequence[str] = (), name: str = "") -> None:
        check_guard(guard)
        self._resource = check_resource(guard.audience)
        self._guard = guard
        check_scopes("scopes", scopes)
        self._scopes = tuple(scopes)
        self._name = name
        self.path = served_path(self._resource)
        guard.publish_metadata(self)

    def is_asked(self, method: str, path: str) -> bool:
        """Whether a request is for the document, which is public: its readers have no token yet."""
        return path == self.path and method in ("GET", "HEAD")

    def body(self) -> bytes:
        """Return the document."""
        return metadata(self._resource, self._guard.issuers, self._scopes, self._name)


def metadata_address(resource: str) -> str:
    """Return where the metadata of a resource is: inserted between host and path (RFC 9728 §3.1)."""
    parts = urlsplit(resource)
    path = "" if parts.path == "/" else parts.path
    query = f"?{parts.query}" if parts.query else ""
    return f"{parts.scheme}://{parts.netloc}{WELL_KNOWN}{path}{query}"


def served_path(resource: str) -> str:
    """Return the path of a resource's metadata as servers hand it to an application: decoded."""
    return unquote(urlsplit(metadata_address(resource)).path)


def metadata(resource: str, issuers: Sequence[str], scopes: Sequence[str] = (), name: str = "") -> bytes:
    """Return the metadata of a resource as JSON (RFC 9728 §2); `scopes` are the least that its basic use needs."""
    document: dict[str, object] = {
        "resource": resource,
        "authorization_servers": list(issuers),
        "bearer_methods_supported": ["header"],  # never in the query
    }
    if scopes:  # RFC 9728 §3.2: a member without a value is left out
        document["scopes_supported"] = list(scopes)
    if name:
        document["resource_name"] = name
    return json.dumps(document).encode()


def check_resource(resource: str) -> str:
    """Return a resource identifier unchanged; raise ValueError for one that is not canonical (RFC 8707 §2)."""
    check_address("the resource, which is the guard's audience,", resource)
    parts = urlsplit(resource)
    if "#" in resource or parts.query or "@" in parts.netloc:
        raise ValueError(
            f"the resource must have no fragment, query or user information: {resource!r} (RFC 8707 section 2)"
        )
    if resource.endswith("/"):
        raise ValueError(
            f"the resource must not end with a slash, since clients expect exactly the address without one: use {resource.rstrip('/')!r}"
        )
    return resource
