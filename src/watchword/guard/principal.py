"""Who calls: the one value that application code sees, whatever credential arrived."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

Kind = Literal["api_token", "access_token"]
NOTHING: Mapping[str, object] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Principal:
    """An authenticated caller; times are Unix seconds, None where the credential says nothing."""

    subject: str
    kind: Kind
    issuer: str
    scopes: frozenset[str]
    audience: tuple[str, ...]
    token_id: str | None = None
    client_id: str | None = None
    expires_at: int | None = None
    issued_at: int | None = None
    auth_time: int | None = None
    acr: str | None = None
    amr: tuple[str, ...] = ()
    jkt: str | None = None
    x5t: str | None = None
    claims: Mapping[str, object] = field(default_factory=lambda: NOTHING, repr=False, compare=False)

    def has(self, *scopes: str) -> bool:
        """Whether the caller holds all of the scopes."""
        return self.scopes.issuperset(scopes)


def from_claims(claims: Mapping[str, object], issuer: str) -> Principal:
    """Make a principal of verified claims, of a JWT (RFC 9068) or an introspection answer (RFC 7662)."""
    cnf = claims.get("cnf")
    binding = cnf if isinstance(cnf, Mapping) else NOTHING
    aud = claims.get("aud", ())
    return Principal(
        subject=str(claims.get("sub", "")),
        kind="api_token" if claims.get("token_kind") == "api_token" else "access_token",
        issuer=issuer,
        scopes=frozenset(str(claims.get("scope", "")).split()),
        audience=(aud,)
        if isinstance(aud, str)
        else tuple(str(item) for item in aud)
        if isinstance(aud, list)
        else (),
        token_id=_text(claims, "jti"),
        client_id=_text(claims, "client_id"),
        expires_at=_moment(claims, "exp"),
        issued_at=_moment(claims, "iat"),
        auth_time=_moment(claims, "auth_time"),
        acr=_text(claims, "acr"),
        amr=_texts(claims, "amr"),
        jkt=_text(binding, "jkt"),
        x5t=_text(binding, "x5t#S256"),
        claims=MappingProxyType(dict(claims)),
    )


def _text(claims: Mapping[str, object], name: str) -> str | None:
    value = claims.get(name)
    return value if isinstance(value, str) else None


def _texts(claims: Mapping[str, object], name: str) -> tuple[str, ...]:
    value = claims.get(name)
    return tuple(item for item in value if isinstance(item, str)) if isinstance(value, list) else ()


def _moment(claims: Mapping[str, object], name: str) -> int | None:
    value = claims.get(name)
    return int(value) if isinstance(value, int | float) else None
