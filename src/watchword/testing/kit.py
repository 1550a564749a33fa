"""The testing kit's server: everything that a test of a guarded API needs, made by the flows that the real server uses.

Everything is real: tokens are signed with the server's keys, revocations are in its database, and a connected guard asks the server
itself. Nothing is imitated, so nothing can differ from what the API meets in production.
"""

import contextlib
import itertools
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, TypedDict, TypeVar, Unpack, get_args, overload

import httpx

from watchword.app import App
from watchword.flows import api_tokens, minting, revocation, sessions
from watchword.flows.api_tokens import TokenInput
from watchword.flows.clients import client_registry
from watchword.flows.clients.client_metadata import ClientInput
from watchword.flows.clients.client_registry import Registered
from watchword.flows.giving import OPERATOR
from watchword.flows.minting import AccessGrant
from watchword.flows.runtime import Runtime
from watchword.flows.users import accounts
from watchword.guard import Guard
from watchword.jose import jwk, jws
from watchword.oauth import token_format
from watchword.oauth.clients import Client
from watchword.oauth.scopes import format_scope, parse_scope
from watchword.settings import Settings
from watchword.store.tokens import token_id
from watchword.store.users import User
from watchword.testing.client_fields import ClientFields
from watchword.testing.clock import Clock
from watchword.testing.connect import connected
from watchword.testing.credentials import SignedIn, Token
from watchword.testing.empty import place
from watchword.testing.worker import Worker, WorkerTransport

ISSUER = "https://auth.test"
ELSEWHERE = "https://another-api.test"
LONG_AGO = 7 * 86_400
# Claims that other arguments set.
DECIDED = frozenset({"iss", "sub", "aud", "client_id", "scope", "exp", "iat", "jti"})

Kind = Literal["jwt", "opaque", "api_token"]
Scopes = str | Sequence[str]
G = TypeVar("G", bound=Guard)


class AtHome(TypedDict, total=False):
    """What may be said of a token that is for whichever API the kit chooses; see `Wanted`."""

    user: User | None
    client: Registered | None
    kind: Kind | None
    lifetime: int | None
    claims: Mapping[str, object]
    dpop: bool


class Asked(AtHome, total=False):
    """What may be said of a token beside its scopes."""

    audience: str | None


@dataclass(slots=True)
class Auth:
    """The server under test; `http` is a client of it, `clock` its time, `app` the server as an ASGI application."""

    app: App
    clock: Clock
    http: httpx.Client
    worker: Worker
    cleanup: contextlib.ExitStack
    _clients: dict[str, Registered] = field(default_factory=dict)
    _person: User | None = None
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    @property
    def issuer(self) -> str:
        """The server's issuer identifier, and the audience of tokens for which none is named."""
        return self.app.issuer

    @property
    def runtime(self) -> Runtime:
        """What the server's own flows work on."""
        if self.app.runtime is None:
            raise RuntimeError("the server under test is closed")
        return self.app.runtime

    def async_http(self) -> httpx.AsyncClient:
        """Return a client of the server for `async with`."""
        return httpx.AsyncClient(transport=_transport(self.app), base_url=self.issuer)

    @overload
    def guard(self, kind: None = None, **options: Any) -> Guard: ...
    @overload
    def guard(self, kind: type[G], **options: Any) -> G: ...
    @overload
    def guard(self, kind: G) -> G: ...
    def guard(self, kind: type[G] | G | None = None, **options: Any) -> Guard:
        """Return a guard that trusts this server and uses its clock; raise ValueError for anything but a guard or a guard class.

        Given a framework's `Guard` class, it is a new guard. Given your application's guard, it is that one, which goes back to its own
        issuer when the test ends.
        """
        if not (
            kind is None or isinstance(kind, Guard) or (isinstance(kind, type) and issubclass(kind, Guard))
        ):
            raise ValueError(
                f"guard: your application's guard, a framework's Guard class, or nothing, not {kind!r}"
            )
        if isinstance(kind, Guard):
            if options:
                raise ValueError(f"{', '.join(options)}: a guard that is there already keeps its own options")
            return self.cleanup.enter_context(connected(kind, self.app, self.clock))
        return (kind or Guard)(self.app, clock=self.clock, **options)

    def user(
        self,
        username: str | None = None,
        *,
        password: str | None = None,
        admin: bool = False,
        groups: Collection[str] = (),
    ) -> User:
        """Create a person's account, with a new name unless you give one. A password takes a while, because it is hashed."""
        made = accounts.create(
            self.runtime,
            username=username or f"tester-{next(self._numbers)}",
            password=password,
            is_admin=admin,
            groups=groups,
            actor="test",
        )
        return self.worker.run(made)

    def client(self, **given: Unpack[ClientFields]) -> Registered:
        """Register an OAuth client with fields of the admin API; raise TypeError for any other, and OAuthError if they are refused."""
        given.setdefault("name", "a client under test")
        check_names("a client", given, ClientInput.__struct_fields__)
        wanted = ClientInput(**given)
        return self.worker.run(client_registry.register(self.runtime, wanted, actor="test"))

    def session(
        self, user: User | None = None, *, acr: str = "urn:watchword:aal1", amr: tuple[str, ...] = ("pwd",)
    ) -> SignedIn:
        """Sign a person in (a new one unless you give one) and return the session with its cookie."""
        from watchword.pages.browser import cookie_name  # the pages cost an import that only sessions need
        from watchword.pages.visit import SESSION_COOKIE

        check_user(user)
        person = user or self.worker.run(self._default_person())
        begun = sessions.begin(
            self.runtime, person.id, acr=acr, amr=amr, user_agent="test", address="127.0.0.1"
        )
        session, value = self.worker.run(begun)
        return SignedIn(session, cookie_name(self.app.settings, SESSION_COOKIE), value)

    def token(self, scopes: Scopes = (), **given: Unpack[Asked]) -> Token:
        """Return a valid token; the arguments are the fields of `Wanted`: user, client, kind, audience, lifetime, claims, dpop."""
        return self.worker.run(self._make(_wanted(scopes, given), self.runtime))

    def expired(self, scopes: Scopes = (), **given: Unpack[Asked]) -> Token:
        """Return an expired token."""
        lifetime = given.get("lifetime")
        if lifetime is None:
            lifetime = given["lifetime"] = 60
        wanted = _wanted(scopes, given)
        # Made by the same flows with a clock that is behind, so that it ended a week ago.
        then = replace(self.runtime, clock=lambda: self.clock() - LONG_AGO - lifetime, cache={})
        return self.worker.run(self._make(wanted, then))

    def wrong_audience(self, scopes: Scopes = (), **given: Unpack[AtHome]) -> Token:
        """Return a token that is valid, but for another API."""
        return self.token(scopes, audience=ELSEWHERE, **given)

    def revoked(self, scopes: Scopes = (), **given: Unpack[Asked]) -> Token:
        """Return a token that was valid and has been revoked."""
        token = self.token(scopes, **given)
        self.revoke(token)
        return token

    def revoke(self, token: Token) -> None:
        """Revoke a token now; raise ValueError for one that this kit did not make, which would stay valid."""
        if not isinstance(token, Token):
            raise ValueError(f"token: one that this kit made, not {type(token).__name__}")
        self.worker.run(self._revoke(token))

    def forged(self, scopes: Scopes = (), **given: Unpack[Asked]) -> Token:
        """Return a token with all the right claims, signed by somebody else's key."""
        honest = self.token(scopes, **given | {"kind": "jwt"})
        head = jws.peek(honest)
        stranger = jwk.generate(head.alg, kid=head.kid)
        forged = jws.sign(stranger, {"typ": "at+jwt"}, jwk.b64decode(honest.split(".")[1]))
        return Token.make(forged, honest.id, honest.key, self.clock)

    async def _revoke(self, token: Token) -> None:
        if token_format.kind_of(token, self.app.settings.brand) == "a":
            await api_tokens.revoke(self.runtime, token.id, actor="test")
            return
        for registered in self._clients.values():
            await revocation.revoke(self.runtime, registered.client, token)

    async def _default_person(self) -> User:
        if self._person is None:
            name = f"tester-{next(self._numbers)}"
            self._person = await accounts.create(self.runtime, username=name, actor="test")
        return self._person

    async def _make(self, wanted: "Wanted", runtime: Runtime) -> Token:
        key = jwk.generate("ES256") if wanted.dpop else None
        subject = wanted.user
        if subject is None and wanted.client is None:
            subject = await self._default_person()
        if wanted.kind == "api_token":
            return await self._api_token(wanted, runtime, subject, key)
        client = await self._client(wanted)
        claims = dict(wanted.claims) | ({"cnf": {"jkt": key.thumbprint}} if key else {})
        grant = AccessGrant(
            client=client,
            subject=subject.id if subject else client.client_id,
            scope=_scope(wanted.scopes),
            audience=(wanted.audience or runtime.settings.resource,),
            lifetime=wanted.lifetime or minting.lifetime_of(runtime, client),
            claims=claims,
            format=wanted.kind,
        )
        minted = await minting.issue(runtime, grant)
        identifier = token_id(minted.row[0]) if isinstance(minted.row, tuple) else ""
        return Token.make(minted.token, identifier, key, self.clock)

    async def _api_token(
        self, wanted: "Wanted", runtime: Runtime, subject: User | None, key: jwk.Key | None
    ) -> Token:
        client = wanted.client.client.client_id if wanted.client else ""
        given = TokenInput(
            name="a token under test",
            scope=format_scope(_scope(wanted.scopes)) or "test",
            resource=wanted.audience,
            expires_in=wanted.lifetime,
            jkt=key.thumbprint if key else None,
        )
        owner = ("user", subject.id) if subject else ("client", client)
        issued = await api_tokens.create(runtime, given, owner=owner, actor="test", giver=OPERATOR)
        return Token.make(issued.secret, issued.token.id, key, self.clock)

    async def _client(self, wanted: "Wanted") -> Client:
        if wanted.client is not None:
            self._clients[wanted.client.client.client_id] = wanted.client
            return wanted.client.client
        known = self._clients.get("")
        if known is None:
            given = ClientInput(name="the client under test")
            known = self._clients[""] = await client_registry.register(self.runtime, given, actor="test")
        return known.client


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """The token to make: for a person (a new one by default) or, given only a client, for the client itself.

    `kind` None means an access token in the client's registered format, or a JWT without a client. `lifetime` is in seconds; `claims`
    adds claims of a sign-in (`acr`, `amr`, `auth_time`); `dpop` binds the token to a key.
    """

    scopes: Scopes = ()
    user: User | None = None
    client: Registered | None = None
    kind: Kind | None = None
    audience: str | None = None
    lifetime: int | None = None
    claims: Mapping[str, object] = field(default_factory=dict)
    dpop: bool = False

    def __post_init__(self) -> None:
        """Raise ValueError for arguments that would make another token than the one that was meant."""
        if self.kind not in (None, *get_args(Kind)):
            raise ValueError(f"kind: one of {', '.join(get_args(Kind))}, not {self.kind!r}")
        check_user(self.user)
        if self.audience is not None and (not isinstance(self.audience, str) or not self.audience):
            raise ValueError(f"audience: the one name of an API, not {self.audience!r}")
        if self.lifetime is not None and (not isinstance(self.lifetime, int) or self.lifetime <= 0):
            raise ValueError(f"lifetime: whole seconds, more than none, not {self.lifetime!r}")
        if self.claims and self.kind == "api_token":
            raise ValueError("claims: an API token has none")
        if decided := DECIDED.intersection(self.claims):
            raise ValueError(f"claims: {', '.join(sorted(decided))} is what other arguments say")
        if not isinstance(self.client, Registered | None):
            raise ValueError(f"client: one that auth.client() registered, not {self.client!r}")


def check_names(what: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Raise TypeError for unknown arguments, naming the known ones."""
    if unknown := sorted(set(given).difference(known)):
        raise TypeError(f"{', '.join(unknown)}: {what} is described by {', '.join(known)}")


def check_user(given: object) -> None:
    """Raise ValueError unless given an account, or None."""
    if not isinstance(given, User | None):
        raise ValueError(f"user: somebody whom auth.user() made, not {given!r}")


def _wanted(scopes: Scopes, given: Mapping[str, Any]) -> Wanted:
    check_names("a token", given, [one.name for one in fields(Wanted)])
    return Wanted(scopes=scopes, **given)


def _scope(scopes: Scopes) -> tuple[str, ...]:
    return parse_scope(scopes if isinstance(scopes, str) else " ".join(scopes))


def _transport(app: App) -> httpx.ASGITransport:
    return httpx.ASGITransport(app=app, client=("127.0.0.1", 50_000))


@contextlib.contextmanager
def open_auth(worker: Worker, options: Mapping[str, object] | None = None) -> Iterator[Auth]:
    """Open a server on a database of its own, which is deleted afterwards."""
    with tempfile.TemporaryDirectory(prefix="watchword-test-") as folder, contextlib.ExitStack() as cleanup:
        given: dict[str, Any] = {
            "issuer": ISSUER,
            "database": str(Path(folder) / "watchword.db"),
            "jobs": False,
        }
        options = dict(options or {})
        settings, clock = Settings(**(given | options)), Clock()
        if not options.keys() & {"database", "key_file"}:  # which others may be about to make
            place(settings)
        app = App(settings, clock, durable=False)
        worker.run(app.open())
        try:
            transport = WorkerTransport(worker, _transport(app))
            with httpx.Client(transport=transport, base_url=app.issuer) as http:
                yield Auth(app, clock, http, worker, cleanup)
        finally:
            worker.run(app.close())
