"""Whom a guard trusts: one authorization server, Watchword or any other, and what is expected of its tokens."""

import os
from collections.abc import Collection
from dataclasses import dataclass
from urllib.parse import urlsplit

from watchword.loopback import is_loopback

ALGORITHMS = ("ES256", "EdDSA", "RS256", "PS256", "ES384", "ES512")
AT_JWT = ("at+jwt",)
RFC_9068 = ("sub", "aud", "exp", "iat", "jti", "client_id")


class IssuerUnavailable(Exception):
    """The authorization server did not answer as it must."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trusted:
    """An issuer as its own metadata names it, and how to deal with it.

    `audience` is how its tokens name this API (default: as the guard says). `client_id` and `client_secret` authenticate
    introspection. `algorithms` are those that may sign its tokens. `types` are the `typ` headers of its access tokens: servers that
    do not follow RFC 9068 send "JWT". `opaque_prefixes` say which opaque tokens are sent to it, where several issuers are trusted;
    none means all that no other claims. `jwks_uri` is for issuers without metadata.
    """

    issuer: str
    audience: str | None = None
    client_id: str | None = None
    client_secret: str | None = None
    algorithms: tuple[str, ...] = ALGORITHMS
    types: tuple[str, ...] = AT_JWT
    opaque_prefixes: tuple[str, ...] = ()
    jwks_uri: str | None = None

    def __post_init__(self) -> None:
        check_issuer(self.issuer)
        for name in ("algorithms", "types", "opaque_prefixes"):
            check_names(name, getattr(self, name))
        unknown = sorted(set(self.algorithms) - set(ALGORITHMS))
        if unknown or not self.algorithms:
            raise ValueError(
                f"algorithms: name some of {', '.join(ALGORITHMS)}, not {', '.join(unknown) or 'none'}"
            )

    @property
    def required(self) -> tuple[str, ...]:
        """The claims without which its tokens are refused."""
        return RFC_9068 if self.types == AT_JWT else ("sub", "aud", "exp")

    @property
    def credentials(self) -> tuple[str, str] | None:
        """What authenticates introspection, if anything does."""
        return (self.client_id, self.client_secret) if self.client_id and self.client_secret else None


def from_environment(issuer: str, client_id: str | None, client_secret: str | None) -> Trusted:
    """Return an issuer with the credentials given, else those of the environment."""
    return Trusted(
        issuer=issuer,
        client_id=client_id or os.environ.get("WATCHWORD_CLIENT_ID"),
        client_secret=client_secret or os.environ.get("WATCHWORD_CLIENT_SECRET"),
    )


def check_names(field: str, given: object) -> None:
    """Raise ValueError unless a value is a collection of names: a text would be taken for its characters, or for its parts."""
    names = tuple(given) if isinstance(given, Collection) and not isinstance(given, str) else ("",)
    if not all(isinstance(one, str) and one and " " not in one for one in names):
        raise ValueError(f'{field}: name each by itself, such as {field}=("one", "two"), not {given!r}')


def check_issuer(address: str) -> None:
    """Raise ValueError unless an address is https, or http on this very machine."""
    parts = urlsplit(address)
    if parts.scheme == "https" and parts.hostname:
        return
    if parts.scheme == "http" and parts.hostname and is_loopback(parts.hostname):
        return
    raise ValueError(f"the issuer must be an https address (http only on loopback), not {address!r}")
