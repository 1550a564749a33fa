"""The authenticated caller: the one value that application code sees, whatever credential arrived."""

from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

Kind = Literal["api_token", "access_token", "session"]
KINDS: dict[str, Kind] = {"api_token": "api_token", "access_token": "access_token", "session": "session"}
NUMBER = (int, float)
NESTED = (list, dict)
CONFIRMATIONS = ("jkt", "x5t#S256")  # RFC 9449 §6.1, RFC 8705 §3.1


class Claims(Mapping[str, object]):
    """Claims of a verified credential, read-only.

    A principal is cached for further requests with the same credential. So lists and objects are returned as copies: an application
    that changes them changes nothing for another request.
    """

    __slots__ = ("_claims",)

    def __init__(self, claims: Mapping[str, object]) -> None:
        self._claims = claims

    def __getitem__(self, name: str) -> object:
        value = self._claims[name]
        return deepcopy(value) if isinstance(value, NESTED) else value

    def __iter__(self) -> Iterator[str]:
        return iter(self._claims)

    def __len__(self) -> int:
        return len(self._claims)

    def __repr__(self) -> str:
        return f"Claims({', '.join(self._claims)})"  # names only: personal data does not belong in logs


NOTHING = Claims({})


class Misbound(ValueError):
    """A credential claims to be bound to a key or certificate, but its confirmation is malformed or missing."""


FROM_GUARD = (
    "a Principal comes from a guard and never from a request: who: Principal = guard.require(…), with the parentheses; "
    "an answer names what it shows of one"
)

if TYPE_CHECKING:
    Subject = str
else:

    class Subject(str):
        """The annotation of `Principal.subject`, which keeps frameworks from building a Principal from a request; its values are plain `str`.

        FastAPI fills the arguments of a class that an endpoint depends on (`Depends()`) from query and body, as Litestar does for
        `Provide(Principal)`. And Litestar's msgspec decodes a body into any dataclass (`data: Principal`) whose field types it knows.
        """

        __slots__ = ()

        @classmethod
        def __get_pydantic_core_schema__(cls, _: Any, handler: Any) -> dict[str, Any]:
            if handler.field_name is None:
                raise TypeError(FROM_GUARD)
            return {"type": "str"}


@dataclass(frozen=True, slots=True)
class Principal:
    """An authenticated caller. Times are Unix seconds; a field is None if the credential does not say.

    `subject` is who the caller is, `scopes` what it may do, `kind` which credential it presented. `claims` holds everything else
    that the token says.
    """

    subject: Subject
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
        """Return whether the caller has all of these scopes."""
        return self.scopes.issuperset(scopes)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> dict[str, Any]:
        """Keep pydantic from building a caller from a request.

        FastAPI reads a parameter without a guard from the body: whoever sends `{"subject": …}` would be anybody. Such a parameter raises
        TypeError when the program starts. A model may have a field of this type; it accepts nothing but a Principal.
        """
        if handler.field_name is None:
            raise TypeError(FROM_GUARD)
        schema: dict[str, Any] = {
            "type": "function-before",
            "function": {"type": "no-info", "function": _itself},
            "schema": handler(source),
        }
        return schema


def _itself(given: object) -> object:
    if not isinstance(given, Principal):
        raise ValueError("a Principal comes from a guard")  # pydantic turns it into its ValidationError
    return given


def from_claims(claims: Mapping[str, object], issuer: str) -> Principal:
    """Make a principal from verified claims, of a JWT (RFC 9068) or an introspection answer (RFC 7662), which must not change later.

    Raise Misbound for a malformed confirmation, and for a token of type DPoP without one.
    """
    get = claims.get
    sub, cnf, aud, kind = get("sub"), get("cnf"), get("aud"), get("token_kind")
    jkt, x5t = (None, None) if cnf is None else _confirmation(cnf)
    token_type = get("token_type")
    if jkt is None and isinstance(token_type, str) and token_type.lower() == "dpop":  # RFC 9449 §6.2
        raise Misbound
    return Principal(
        subject="" if sub is None else str(sub),
        kind=KINDS.get(kind, "access_token") if isinstance(kind, str) else "access_token",
        issuer=issuer,
        scopes=_scopes(claims),
        audience=(aud,) if isinstance(aud, str) else _audience(aud),
        token_id=_text(get("jti")),
        client_id=_text(get("client_id", get("azp"))),
        expires_at=_moment(get("exp")),
        issued_at=_moment(get("iat")),
        auth_time=_moment(get("auth_time")),
        acr=_text(get("acr")),
        amr=_texts(get("amr")),
        jkt=jkt,
        x5t=x5t,
        claims=Claims(claims),
    )


def _confirmation(cnf: object) -> tuple[str | None, str | None]:
    """Return `jkt` and `x5t#S256`; members that are not understood are ignored (RFC 7800 §3.1)."""
    if not isinstance(cnf, Mapping) or not all(
        isinstance(cnf[name], str) for name in CONFIRMATIONS if name in cnf
    ):
        raise Misbound
    return cnf.get("jkt"), cnf.get("x5t#S256")


def _scopes(claims: Mapping[str, object]) -> frozenset[str]:
    given = claims.get("scope", claims.get("scp"))  # some issuers send a list named `scp`
    return frozenset(given.split() if isinstance(given, str) else _texts(given))


def _audience(value: object) -> tuple[str, ...]:
    return tuple(str(item) for item in value) if isinstance(value, list) else ()


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _texts(value: object) -> tuple[str, ...]:
    return tuple(item for item in value if isinstance(item, str)) if isinstance(value, list) else ()


def _moment(value: object) -> int | None:
    return int(value) if isinstance(value, NUMBER) else None
