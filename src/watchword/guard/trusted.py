"""Whom a guard trusts: authorization servers, Watchword or any other, with what is expected of their tokens; or a server in this process."""

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from watchword.guard.misuse import check_address, check_audience, check_issuer, check_names
from watchword.jose import jws
from watchword.jose.jwk import own_name
from watchword.oauth.credential_text import check_credential

ALGORITHMS = ("ES256", "EdDSA", "RS256", "PS256", "ES384", "ES512")  # the default
AT_JWT = ("at+jwt",)
RFC_9068 = ("sub", "aud", "exp", "iat", "jti", "client_id")


class IssuerUnavailable(Exception):
    """The authorization server, or another thing that verification needs, gave no usable answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trusted:
    """An issuer, and what the guard expects of its tokens.

    - `issuer`: the issuer, exactly as its own metadata spells it.
    - `audience`: what its tokens call this API (default: the guard's audience).
    - `client_id`, `client_secret`: authenticate introspection.
    - `algorithms`: the algorithms that may sign its tokens.
    - `types`: the `typ` headers of its access tokens. Servers that do not follow RFC 9068 send "JWT", or none, which counts as "JWT".
    - `opaque_prefixes`: which opaque tokens are sent to it, if the guard trusts several issuers. Without any, it gets those that no
      other issuer claims.
    - `jwks_uri`: the address of its keys, for issuers without metadata.

    Raises ValueError for a value that cannot work.
    """

    issuer: str = field(kw_only=False)
    audience: str | None = None
    client_id: str | None = None
    client_secret: str | None = field(default=None, repr=False)
    algorithms: tuple[str, ...] = ALGORITHMS
    types: tuple[str, ...] = AT_JWT
    opaque_prefixes: tuple[str, ...] = ()
    jwks_uri: str | None = None

    def __post_init__(self) -> None:
        check_issuer(self.issuer)
        check_audience(self.audience)
        for name in ("types", "opaque_prefixes"):
            check_names(name, getattr(self, name))
            # A list is as good, but is compared with tuples and hashed later.
            object.__setattr__(self, name, tuple(getattr(self, name)))
        types = (name.lower().removeprefix("application/") for name in self.types)  # RFC 7515 §4.1.9
        object.__setattr__(self, "types", tuple(dict.fromkeys(types)))
        if not self.types:
            raise ValueError('types: name some, such as types=("at+jwt", "JWT"), or no token is accepted')
        if self.jwks_uri is not None:
            check_address("jwks_uri", self.jwks_uri)
        if bool(self.client_id) != bool(self.client_secret):
            raise ValueError(
                "client_id and client_secret (or WATCHWORD_CLIENT_ID and WATCHWORD_CLIENT_SECRET) go together: give both, or neither"
            )
        if self.client_id and self.client_secret:
            check_credential("client_id", self.client_id)
            check_credential("client_secret", self.client_secret)
        object.__setattr__(self, "algorithms", read_algorithms("algorithms", self.algorithms))

    @property
    def required(self) -> tuple[str, ...]:
        """The claims without which its tokens are refused."""
        return RFC_9068 if self.types == AT_JWT else ("sub", "aud", "exp")

    @property
    def accepted_types(self) -> tuple[str, ...]:
        """The `typ` headers that its tokens may have, "" for none: RFC 7519 §5.1 asks for none, and "JWT" says no more than that."""
        return (*self.types, "") if "jwt" in self.types else self.types

    @property
    def credentials(self) -> tuple[str, str] | None:
        """What authenticates introspection, if anything does."""
        return (self.client_id, self.client_secret) if self.client_id and self.client_secret else None


class Local(Protocol):
    """An authorization server in the same process; it raises ConnectionError while its storage is unavailable."""

    @property
    def issuer(self) -> str:
        """The issuer identifier."""

    async def introspect(
        self, token: str, *, address: str | None, path: str | None, audience: str
    ) -> Mapping[str, object]:
        """Introspect a token (RFC 7662) without a network in between; tokens that are not for the audience are not active."""

    async def report_exposed(self, token: str) -> None:
        """Take note that a token travelled in the clear."""

    async def report_exposed_session(self, cookies: str) -> None:
        """Take note that the session in a Cookie header travelled in the clear."""

    def recall(self, token: str, address: str) -> Mapping[str, object] | None:
        """Return the same object that `introspect` last returned while it still holds; None when it must be asked again."""

    async def use_proof(self, identifier: str, seconds: int) -> bool:
        """Record the identifier of a used proof for so many seconds, on all nodes; return whether it was new."""

    async def session(self, cookies: str) -> Mapping[str, object]:
        """Return whose session a Cookie header carries, in the form of an introspection answer."""


AnyIssuer = str | Local | Trusted


def _from_environment(issuer: str, client_id: str | None, client_secret: str | None) -> Trusted:
    """Return an issuer with the credentials given, else those of the environment."""
    return Trusted(
        issuer=issuer,
        client_id=client_id or os.environ.get("WATCHWORD_CLIENT_ID"),
        client_secret=client_secret or os.environ.get("WATCHWORD_CLIENT_SECRET"),
    )


def read_issuers(
    issuer: AnyIssuer | Sequence[AnyIssuer], client_id: str | None, client_secret: str | None
) -> list[Local | Trusted]:
    """Return whom a guard trusts, each issuer once; raise ValueError for what is no issuer."""
    many = [issuer] if isinstance(issuer, str) or not isinstance(issuer, Sequence) else issuer
    addresses = [one for one in many if isinstance(one, str)]
    found = [
        _from_environment(one, client_id, client_secret) if isinstance(one, str) else one for one in many
    ]
    if not found or not all(hasattr(one, "issuer") for one in found):
        raise ValueError("issuer: the address of an authorization server, a Trusted, or a list of these")
    if len({one.issuer for one in found}) < len(found):
        raise ValueError("issuer: the same one is named twice")
    # Among several issuers, those that the secret is not for would be sent it too.
    is_for_all = len(addresses) > 1 and any(
        one.credentials for one in found if isinstance(one, Trusted) and one.issuer in addresses
    )
    if is_for_all or ((client_id or client_secret) and not addresses):
        raise ValueError(
            "client_id and client_secret, or WATCHWORD_CLIENT_ID and WATCHWORD_CLIENT_SECRET: give them to the Trusted that they are for"
        )
    return found


def read_algorithms(field: str, given: Collection[str]) -> tuple[str, ...]:
    """Return algorithms by our names, each once; raise ValueError unless all are known, and for none at all."""
    check_names(field, given)
    found = tuple(dict.fromkeys(map(own_name, given)))
    unknown = sorted(set(found) - set(jws.ALGORITHMS))
    if unknown or not found:
        raise ValueError(
            f"{field}: name some of {', '.join(jws.ALGORITHMS)}, not {', '.join(unknown) or 'none'}"
        )
    return found
