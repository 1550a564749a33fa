"""What an application can get wrong when it makes a guard: refused when the program starts, or named in its log; never read as something else."""

import functools
import math
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from typing import Any, Literal, cast

import pytest
from fastapi import FastAPI
from mcp.server import MCPServer
from tests.fixtures.live import Live
from tests.fixtures.servers import free_port

from watchword import client
from watchword.guard import Guard, Policy, Refused, Trusted
from watchword.guard.asgi import GuardMiddleware as AsgiMiddleware
from watchword.guard.asgi import MetadataMiddleware
from watchword.guard.django import Guard as DjangoGuard
from watchword.guard.fastapi import Guard as FastapiGuard
from watchword.guard.fastmcp import WatchwordAuth
from watchword.guard.grpc import GuardInterceptor
from watchword.guard.mcp import McpGuard
from watchword.guard.mcp_sdk import protected
from watchword.guard.presented import Presented
from watchword.guard.sessions import MemoryStore, SessionMiddleware
from watchword.guard.starlette import Guard as StarletteGuard
from watchword.guard.wsgi import GuardMiddleware as WsgiMiddleware
from watchword.testing.kit import Auth

ISSUER = "https://auth.example.com"
API = "https://api.example.com/mcp"


async def nothing(*_: Any) -> None:
    """An application that is never called."""


class Later:
    """A rule that answers later."""

    async def __call__(self, *_: Any) -> bool:
        """Let nobody in."""
        return False


class Rules:
    """A rule that answers at once."""

    def __call__(self, _: Any) -> bool:
        """Let nobody in."""
        return False

    def may(self, _: Any) -> bool:
        """Let nobody in."""
        return False


def yielding(_: Any) -> Iterator[bool]:
    """Let nobody in."""
    yield False


async def yielding_later(_: Any) -> AsyncIterator[bool]:
    """Let nobody in."""
    yield False


MISUSES: dict[str, tuple[Callable[[Any], object], Any, str]] = {
    # A text holds its parts: an `acr` of "urn:watchword:aal2" would have been found in it.
    "a text for the levels of sign-in": (lambda given: Policy(acr=given), "urn:watchword:aal2-phr", "acr: name each"),
    "a text for scopes": (lambda given: Policy(scopes=given), "orders:read", "scopes: name each"),
    "a text for one of several scopes": (lambda given: Policy(any_scopes=given), "orders:read", "any_scopes: name each"),
    "an empty text for scopes": (lambda given: Policy(scopes=given), "", "scopes: name each"),
    "nothing for scopes": (lambda given: Policy(scopes=given), None, "scopes: name each"),
    "a text for audiences": (lambda given: Policy(audience=given), ISSUER, "audience: name each"),
    "a text for kinds": (lambda given: Policy(kinds=given), "session", "kinds: name each"),
    "an unknown kind": (lambda given: Policy(kinds=given), ("jwt",), "kinds: name some of api_token"),
    "an age below nothing": (lambda given: Policy(max_age=given), -1, "max_age"),
    "several scopes in one": (lambda given: FastapiGuard(ISSUER).require(given), "orders:read orders:write", "scopes"),
    "an empty scope": (lambda given: FastapiGuard(ISSUER).require(given), "", "scopes: name each"),
    "a list for a scope": (lambda given: FastapiGuard(ISSUER).require(given), ["orders:read"], "scopes: name each"),
    "a text for the scopes of sessions": (lambda given: Guard(ISSUER, sessions=given), "orders:read", "sessions: name"),
    "a text for the types of tokens": (lambda given: Trusted(issuer=ISSUER, types=given), "at+jwt", "types: name each"),
    "a text for prefixes": (lambda given: Trusted(issuer=ISSUER, opaque_prefixes=given), "gho_", "opaque_prefixes"),
    "a scope that no token can hold": (lambda given: Policy(scopes=given), ('orders:"read"',), "scopes: a scope is printable ASCII"),
    "an age that is no number": (lambda given: Policy(max_age=given), timedelta(minutes=5), "max_age is a number of seconds"),
    "a rule of one's own that is no function": (lambda given: Policy(predicate=given), "owner", "predicate: a synchronous function"),
    # What it returns is a coroutine, which is true: everybody would be let in.
    "a rule of one's own that is asynchronous": (lambda given: Policy(predicate=given), nothing, "predicate: a synchronous function"),
    "a rule of one's own whose object is asynchronous": (lambda given: Policy(predicate=given), Later(), "predicate: a synchronous function"),
    "an asynchronous rule of one's own with an argument": (
        lambda given: Policy(predicate=given), functools.partial(Later(), None), "predicate: a synchronous function"
    ),
    "a rule of one's own that yields": (lambda given: Policy(predicate=given), yielding, "predicate: a synchronous function"),
    "a rule of one's own that yields later": (lambda given: Policy(predicate=given), yielding_later, "predicate: a synchronous function"),
    # What it makes of a caller is an object, and that is true.
    "a class for a rule of one's own": (lambda given: Policy(predicate=given), Later, "predicate: a synchronous function"),
    "a text for a policy": (lambda given: FastapiGuard(ISSUER).require(policy=given), "orders:read", "policy: a Policy"),
    "a text for the policy of an application": (
        lambda given: AsgiMiddleware(nothing, Guard(ISSUER), given), "orders:read", "policy: a Policy"
    ),
    # Its characters would be the paths, and "/" is one of them.
    "a text for public paths": (
        lambda given: AsgiMiddleware(nothing, Guard(ISSUER), exclude=given), "/healthz", "exclude: name each"
    ),
    "a public path without its slash": (
        lambda given: WsgiMiddleware(cast(Any, nothing), Guard(ISSUER), exclude=given), ("healthz",), "exclude: name whole paths"
    ),
    "a text for the public paths of a project": (
        lambda given: DjangoGuard(ISSUER).middleware(exclude=given), "/healthz", "exclude: name each"
    ),
    # Its policy would never be found, and the method have the one of all others.
    "a gRPC method that is not a full name": (
        lambda given: GuardInterceptor(Guard(ISSUER), given), {"orders.Orders/List": Policy()}, "methods: full names"
    ),
    "a text for the policy of a gRPC method": (
        lambda given: GuardInterceptor(Guard(ISSUER), given), {"/orders.Orders/List": "orders:read"}, "List: a Policy"
    ),
    "a public gRPC method that is not a full name": (
        lambda given: GuardInterceptor(Guard(ISSUER), exclude=given), ("Health/Check",), "exclude: full names"
    ),
    "a public gRPC method with a policy": (
        lambda given: GuardInterceptor(Guard(ISSUER), {"/orders.Orders/List": Policy()}, exclude=given),
        ("/orders.Orders/List",), "exclude: /orders.Orders/List is guarded"
    ),
    "an origin for gRPC with a path": (
        lambda given: GuardInterceptor(Guard(ISSUER), origin=given), f"{ISSUER}/grpc", "origin is a scheme and a host"
    ),
    "an issuer with a query": (lambda given: Guard(given), f"{ISSUER}?tenant=1", "no query, fragment or user information"),
    "an issuer with a port that does not exist": (lambda given: Guard(given), f"{ISSUER}:99999", "must be an https address"),
    "an issuer with half a bracket": (lambda given: Guard(given), "https://[::1", "must be an https address"),
    "an address of the API with half a bracket": (
        lambda given: Guard(ISSUER, api_address=given), "https://[::1", "api_address must be an address"
    ),
    "no known algorithm of proofs": (lambda given: Guard(ISSUER, dpop_algorithms=given), ("HS256",), "dpop_algorithms: .*not HS256"),
    "an issuer with a space": (lambda given: Guard(given), "https://auth example.com", "must be an https address"),
    "one issuer twice": (lambda given: Guard(given), [ISSUER, Trusted(issuer=ISSUER)], "named twice"),
    "metadata in place of its issuer": (
        lambda given: Guard(given), f"{ISSUER}/.well-known/openid-configuration", "the identifier in its metadata"
    ),
    # A text is true, whatever it says.
    "a text for whether every token is asked about": (lambda given: Guard(ISSUER, live=given), "false", "live is True or False"),
    "nothing for whether the feed is followed": (
        lambda given: Guard(ISSUER, revocation_feed=given), None, "revocation_feed is True or False"
    ),
    "a text for whether a token is bound": (lambda given: Policy(bound=given), "no", "bound is True or False"),
    "a guard before its application": (lambda given: AsgiMiddleware(given, cast(Any, nothing)), Guard(ISSUER), "comes first"),
    "a guard before its WSGI application": (
        lambda given: WsgiMiddleware(given, cast(Any, nothing)), Guard(ISSUER), "comes first"
    ),
    "an issuer in place of a guard": (lambda given: AsgiMiddleware(nothing, given), ISSUER, "guard: a Guard, such as"),
    "an issuer in place of a guard of metadata": (
        lambda given: MetadataMiddleware(nothing, given), ISSUER, "guard: a Guard, such as"
    ),
    "an issuer in place of a guard of gRPC": (lambda given: GuardInterceptor(given), ISSUER, "guard: a Guard, such as"),
    "a list for the policies of gRPC": (
        lambda given: GuardInterceptor(Guard(ISSUER), given), ["/a.B/C"], "methods: policies by full name"
    ),
    "an MCP server in place of its application": (
        lambda given: protected(given, ISSUER, resource=API), MCPServer("weather"), r"what its streamable_http_app\(\)"
    ),
    "a class of stores": (lambda given: SessionMiddleware(nothing, given), MemoryStore, r"make one, MemoryStore"),
    "a decorator that was not called": (lambda given: StarletteGuard(ISSUER).require(given), nothing, "@guard.require\\(\\)"),
    "a policy without its name": (lambda given: FastapiGuard(ISSUER).require(given), Policy(), "policy=…"),
    "an audience of several names": (lambda given: Guard(ISSUER, audience=given), (API, ISSUER), "audience: the one name"),
    "an audience for an issuer of several names": (
        lambda given: Trusted(issuer=ISSUER, audience=given), (API, ISSUER), "audience: the one name"
    ),
    "no type of token": (lambda given: Trusted(issuer=ISSUER, types=given), (), "types: name some"),
    "keys in the clear": (lambda given: Trusted(issuer=ISSUER, jwks_uri=given), "http://example.com/keys", "jwks_uri must be"),
    "a client without its secret": (lambda given: Guard(ISSUER, client_id=given), "api", "CLIENT_SECRET. go together"),
    "a client beside an issuer that has its own": (
        lambda given: Guard(Trusted(issuer=ISSUER), client_id=given, client_secret=given), "api", "give them to the Trusted"
    ),
    "a secret with the line end of its file": (
        lambda given: Guard(ISSUER, client_id="api", client_secret=given), "hunter2\n", "client_secret .*: strip it"
    ),
    # Each would be sent it.
    "one client at several issuers": (
        lambda given: Guard(given, client_id="api", client_secret="hunter2"), [ISSUER, "https://b.example"], "give them to the Trusted"
    ),
    "a text for the seconds of silence": (lambda given: Guard(ISSUER, silence=given), "5", "silence is a number of seconds"),
    "seconds below nothing": (lambda given: Guard(ISSUER, cache_seconds=given), -1, "cache_seconds is a number"),
    "seconds without end": (lambda given: Guard(ISSUER, cache_seconds=given), math.inf, "cache_seconds is a number"),
    "metadata that are nowhere": (lambda given: Guard(ISSUER, resource_metadata=given), "/metadata", "resource_metadata must be"),
    "a memory of proofs that has no such method": (lambda given: Guard(ISSUER, replays=given), {}, "replays: an object with"),
    "metadata for an audience that is no address": (
        lambda given: FastapiGuard(ISSUER, audience=given).publish(FastAPI()), "orders", "guard's audience, must be"
    ),
    "a session that ends at once": (
        lambda given: SessionMiddleware(nothing, MemoryStore(), idle=given), 0, "idle is a number of seconds, at least 1"
    ),
    "a life of sessions that is a text": (
        lambda given: SessionMiddleware(nothing, MemoryStore(), absolute=given), "86400", "absolute is a number of seconds"
    ),
    "a text for the other addresses of an application": (
        lambda given: SessionMiddleware(nothing, MemoryStore(), origins=given), "https://shop.example.com", "origins: name each"
    ),
    "another address with a slash at its end": (
        lambda given: SessionMiddleware(nothing, MemoryStore(), origins=given), ("https://shop.example.com/",), "as browsers write"
    ),
    "another address with the port that browsers leave out": (
        lambda given: SessionMiddleware(nothing, MemoryStore(), origins=given), ("https://shop.example.com:443",), "as browsers write"
    ),
    "a name for another address": (
        lambda given: SessionMiddleware(nothing, MemoryStore(), origins=given), ("shop.example.com",), "as browsers write"
    ),
    # Every page in a sandbox says so, another site's as well.
    "the origin of a sandbox": (
        lambda given: SessionMiddleware(nothing, MemoryStore(), origins=given), ("null",), "origins: as browsers write"
    ),
    "a store of sessions that is none": (lambda given: SessionMiddleware(nothing, given), {}, "store: it lacks .*remove_of"),
    "an unknown rule for plain HTTP": (lambda given: Guard(ISSUER, plain_http=given), "never", "plain_http: one of"),
    "an unknown rule for silence": (lambda given: Guard(ISSUER, when_silent=given), "fail", "when_silent: one of"),
    "an empty audience": (lambda given: Guard(ISSUER, audience=given), "", "audience is empty"),
    "an audience with the line end of its file": (lambda given: Guard(ISSUER, audience=given), API + "\n", "audience: without"),
    "no issuer": (lambda given: Guard(given), [], "issuer: the address"),
    "nothing for an issuer": (lambda given: Guard(given), None, "issuer: the address"),
    "a text for the scopes of an MCP server": (
        lambda given: McpGuard(nothing, ISSUER, resource=API, scopes=given), "weather:read", "scopes: name each"
    ),
    "a resource from a variable that is not there": (
        lambda given: McpGuard(nothing, ISSUER, resource=given), None, "the resource, which is the guard's audience, must be"
    ),
    "an address for FastMCP from a variable that is not there": (
        lambda given: WatchwordAuth(ISSUER, base_url=given), None, "base_url must be an https address"
    ),
    "an issuer for FastMCP that is no address": (
        lambda given: WatchwordAuth(given, base_url="https://api.example.com"), "auth.example.com", "the issuer must be"
    ),
    "a text for the scopes of metadata": (
        lambda given: FastapiGuard(ISSUER).publish(FastAPI(), given), "orders:read", "scopes: name each"
    ),
}  # fmt: skip


@pytest.mark.parametrize(("make", "given", "words"), MISUSES.values(), ids=MISUSES.keys())
def test_a_guard_refuses_at_start(make: Callable[[Any], object], given: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make(given)


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        (
            "from watchword.guard.mcp import protected",
            r"from watchword\.guard\.mcp_sdk import protected",
        ),
        (
            "from watchword.client import RequestsAuth",
            r"from watchword\.client\.requests_auth import RequestsAuth",
        ),
        ("from watchword.guard.mcp import protect", "cannot import name 'protect'"),
    ],
)
def test_what_is_in_another_module_is_named_with_it(statement: str, said: str) -> None:
    with pytest.raises(ImportError, match=said):
        exec(statement)
    assert not hasattr(client, "RequestsAuthentication")


def test_a_text_for_the_values_of_a_header_is_refused_and_not_shown() -> None:
    guard = Guard(ISSUER)
    with pytest.raises(Refused):
        guard.authenticate_sync(Presented(authorization=("Basic hunter2",)))
    with pytest.raises(ValueError, match=r'authorization=\("Bearer …",\)') as refused:
        guard.authenticate_sync(Presented(authorization="Bearer hunter2"))
    assert "hunter2" not in str(refused.value)


def test_lists_sets_and_tuples_of_names_are_taken() -> None:
    for origins in (
        ("https://shop.example.com", "http://localhost:8001"),
        ["https://[::1]:8443", "capacitor://localhost"],
    ):
        assert SessionMiddleware(nothing, MemoryStore(), origins=origins)  # type: ignore[arg-type]  # as callers do
    assert Policy(scopes=("a",), any_scopes=["b"], acr=frozenset({"2"})).acr == {"2"}  # type: ignore[arg-type]  # as callers do
    assert Guard(ISSUER, sessions=["orders:read"]).sessions == {"orders:read"}


@pytest.mark.parametrize("types", [["at+jwt"], {"at+jwt"}, ("AT+JWT",), ["application/at+jwt", "at+jwt"]])
def test_however_the_type_of_rfc_9068_is_written_its_claims_are_demanded(types: Any) -> None:
    honest = Trusted(issuer=ISSUER)
    assert "client_id" in honest.required
    assert Trusted(issuer=ISSUER, types=types) == honest


@pytest.mark.parametrize(
    "predicate",
    [
        lambda who: bool(who.client_id),
        functools.partial(lambda who, named: who == named, named=""),
        Rules().may,
        Rules(),
    ],
)
def test_functions_methods_and_objects_are_taken_for_a_rule_of_ones_own(predicate: Any) -> None:
    assert Policy(predicate=predicate).predicate is predicate


@pytest.mark.parametrize(
    "make",
    [
        lambda: Guard("https://me:hunter2@auth.example.com"),
        lambda: Guard("http://me:hunter2@auth.example.com"),
        lambda: Guard(ISSUER, api_address="https://me:hunter2@api.example.com"),
    ],
)
def test_a_password_in_an_address_is_not_repeated(make: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match=r"user information|must be an") as refused:
        make()
    assert "hunter2" not in str(refused.value)


def test_a_secret_is_not_shown_with_what_is_said_of_an_issuer() -> None:
    trusted = Trusted(issuer=ISSUER, client_id="api", client_secret="hunter2")
    assert trusted.credentials == ("api", "hunter2")
    assert "hunter2" not in repr(trusted)


def test_a_client_of_the_environment_is_for_the_one_issuer_that_is_named_by_its_address(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WATCHWORD_CLIENT_ID", "api")
    monkeypatch.setenv("WATCHWORD_CLIENT_SECRET", "hunter2")
    assert Guard([ISSUER, Trusted(issuer="https://b.example")]).issuers == (ISSUER, "https://b.example")
    with pytest.raises(ValueError, match="WATCHWORD_CLIENT_SECRET: give them to the Trusted") as refused:
        Guard([ISSUER, "https://b.example"])
    assert "hunter2" not in str(refused.value)


async def test_prefixes_in_a_list_lead_to_their_issuer(warnings: Callable[[], list[str]]) -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    guard = Guard([Trusted(issuer=ISSUER), Trusted(issuer=nobody, opaque_prefixes=cast(Any, ["gho_"]))])
    with pytest.raises(Refused):
        await guard.authenticate(Presented(authorization=("Bearer gho_0123456789abcdef",)))
    assert [nobody in told for told in warnings()] == [True]


@pytest.fixture
def warnings(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """What the guard has logged."""
    return lambda: [one.getMessage() for one in caplog.records if one.name == "watchword.guard"]


@pytest.mark.parametrize("kind", ["jwt", "opaque"])
async def test_who_runs_the_api_is_told_why_tokens_cannot_be_checked_and_callers_are_not(
    auth: Auth, warnings: Callable[[], list[str]], kind: Literal["jwt", "opaque"]
) -> None:
    token = auth.token("orders:read", kind=kind)
    presented = Presented(authorization=(f"Bearer {token}",))
    assert await auth.guard().authenticate(presented)
    guard = Guard(f"http://127.0.0.1:{free_port()}")
    for _ in range(3):
        with pytest.raises(Refused) as refused:
            await guard.authenticate(presented)
        assert (refused.value.status, refused.value.description) == (
            503,
            "The token cannot be checked right now.",
        )
    (told,) = warnings()
    assert f"{guard.issuer}/.well-known/" in told
    assert "no connection to" in told
    assert token not in told


async def test_an_issuer_by_a_name_that_nobody_can_have_does_not_answer(
    warnings: Callable[[], list[str]],
) -> None:
    with pytest.raises(Refused) as refused:
        await Guard("https://xn--a.example").authenticate(Presented(authorization=(f"Bearer {'x' * 20}",)))
    assert refused.value.status == 503
    assert ["does not answer" in told for told in warnings()] == [True]


async def test_one_outage_is_logged_once_whatever_callers_send_meanwhile(
    auth: Auth, warnings: Callable[[], list[str]]
) -> None:
    kinds: tuple[Literal["jwt", "opaque"], ...] = ("jwt", "opaque")
    sent = [Presented(authorization=(f"Bearer {auth.token('orders:read', kind=kind)}",)) for kind in kinds]
    assert [await auth.guard().authenticate(one) for one in sent]
    guard = Guard(f"http://127.0.0.1:{free_port()}")
    for one in 4 * sent:
        with pytest.raises(Refused) as refused:
            await guard.authenticate(one)
        assert refused.value.status == 503
    assert len(warnings()) == len(set(warnings())) == 2


async def test_an_issuer_with_a_slash_too_much_is_named_as_the_reason(
    live: Live, warnings: Callable[[], list[str]]
) -> None:
    guard = Guard(live.issuer + "/")
    with pytest.raises(Refused):
        await guard.authenticate(Presented(authorization=("Bearer wwa_" + "0" * 30 + "2C8GjS",)))
    (told,) = warnings()
    assert f"{live.issuer + '/'!r}" in told
    assert "the same, also in a slash at the end" in told
