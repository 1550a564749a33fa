"""The testing kit as its users meet it: a plugin, one fixture, tests with and without an event loop."""

import asyncio
import importlib.metadata
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import Depends, FastAPI
from starlette.testclient import TestClient
from tests.fixtures.forking import in_a_child

from watchword.flows.clients.client_metadata import ClientInput
from watchword.guard import Guard, Policy, Presented, Refused, Trusted
from watchword.guard.fastapi import Guard as FastAPIGuard
from watchword.guard.fastapi import Principal
from watchword.guard.resource import Metadata
from watchword.testing.client_fields import ClientFields
from watchword.testing.kit import Auth, Kind, open_auth
from watchword.testing.worker import Worker

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "test-your-api.md"
KINDS: tuple[Kind, ...] = ("jwt", "opaque", "api_token")


def make_api(guard: FastAPIGuard) -> FastAPI:
    """Return an API with one guarded endpoint, one that only bound tokens reach, and one that needs a fresh sign-in."""
    api = FastAPI()

    @api.get("/orders")
    def orders(who: Principal = guard.require("orders:read")) -> dict[str, str]:
        return {"for": who.subject}

    @api.get("/vault")
    async def vault(who: Principal = guard.require(policy=Policy(bound=True))) -> dict[str, str]:
        return {"for": who.subject}

    @api.get("/pay")
    async def pay(who: Principal = guard.require(policy=Policy(acr=("2",), max_age=60))) -> dict[str, str]:
        return {"for": who.subject}

    return api


@pytest.fixture
def api(auth: Auth) -> TestClient:
    """The API in front of the server under test."""
    return TestClient(make_api(auth.guard(FastAPIGuard)))


def status(api: TestClient, headers: dict[str, str], path: str = "/orders") -> int:
    """Return how the API answers."""
    return api.get(path, headers=headers).status_code


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"kind": "saml"}, "kind: one of jwt, opaque, api_token"),
        ({"user": "alice"}, r"user: somebody whom auth.user\(\) made"),
        ({"client": "app"}, r"client: one that auth.client\(\) registered"),
    ],
)
def test_a_token_that_cannot_be_meant_is_none(auth: Auth, given: dict[str, Any], words: str) -> None:
    for make in (auth.token, auth.expired, auth.revoked):
        with pytest.raises(ValueError, match=words):
            make("orders:read", **given)


@pytest.mark.parametrize("given", ["guard", 5, object])
def test_what_is_no_guard_is_made_none(auth: Auth, given: Any) -> None:
    with pytest.raises(ValueError, match="guard: your application's guard"):
        auth.guard(given)


@pytest.mark.parametrize("by_depends", [False, True], ids=["default", "Depends"])
def test_a_caller_is_put_in_the_place_of_one_guard_of_fastapi_alone(auth: Auth, by_depends: bool) -> None:
    app, guard = FastAPI(), auth.guard(FastAPIGuard)
    read = guard.require("orders:read")

    @app.get("/orders")
    def orders(who: Principal = Depends(read) if by_depends else read) -> dict[str, str]:
        return {"for": who.subject}

    @app.get("/others")
    def others(who: Principal = guard.require("orders:read")) -> dict[str, str]:
        return {"for": who.subject}

    alice = Principal(
        subject="alice", kind="access_token", issuer=auth.issuer, scopes=frozenset(), audience=()
    )
    api = TestClient(app)
    assert (status(api, {}), status(api, {}, "/others")) == (401, 401)
    app.dependency_overrides[read.dependency] = lambda: alice
    assert api.get("/orders").json() == {"for": "alice"}
    assert status(api, {}, "/others") == 401


@pytest.mark.parametrize("kind", KINDS)
def test_a_token_of_each_kind_is_good_and_each_flaw_is_refused(
    auth: Auth, api: TestClient, kind: Kind
) -> None:
    assert status(api, auth.token("orders:read", kind=kind).headers) == 200
    assert status(api, auth.token(["orders:read", "x"], kind=kind).headers) == 200
    assert status(api, auth.token("other", kind=kind).headers) == 403
    for flaw in (auth.expired, auth.revoked, auth.wrong_audience, auth.forged):
        assert status(api, flaw("orders:read", kind=kind).headers) == 401, flaw


@pytest.mark.parametrize("lifetime", [1, 90 * 86_400, None])
@pytest.mark.parametrize("kind", KINDS)
def test_an_expired_token_is_expired_however_long_it_lived(
    auth: Auth, api: TestClient, kind: Kind, lifetime: int | None
) -> None:
    assert status(api, auth.token("orders:read", kind=kind, lifetime=lifetime).headers) == 200
    assert status(api, auth.expired("orders:read", kind=kind, lifetime=lifetime).headers) == 401


@pytest.mark.parametrize("kind", KINDS)
def test_the_clock_ends_tokens_and_a_revocation_is_seen_at_once(
    auth: Auth, api: TestClient, kind: Kind
) -> None:
    token, other = (auth.token("orders:read", kind=kind, lifetime=300) for _ in range(2))
    assert (status(api, token.headers), status(api, other.headers)) == (200, 200)
    auth.revoke(other)
    assert (status(api, token.headers), status(api, other.headers)) == (200, 401)
    auth.clock.advance(306)
    assert status(api, token.headers) == 401


@pytest.mark.parametrize("kind", KINDS)
def test_a_token_says_whose_it_is(auth: Auth, api: TestClient, kind: Kind) -> None:
    alice, machine = auth.user("alice"), auth.client(name="reports", scope="orders:read")
    token = auth.token("orders:read", user=alice, kind=kind)
    assert api.get("/orders", headers=token.headers).json() == {"for": alice.id}
    own = auth.token("orders:read", client=machine, kind=kind)
    assert api.get("/orders", headers=own.headers).json() == {"for": machine.client.client_id}
    auth.revoke(own)
    assert status(api, own.headers) == 401


def test_a_token_is_of_the_kind_that_is_asked_for_whatever_its_client_has(auth: Auth) -> None:
    usual, other = (
        auth.client(scope="orders:read"),
        auth.client(scope="orders:read", access_token_format="opaque"),
    )
    made = {name: auth.token("orders:read", client=one) for name, one in (("usual", usual), ("other", other))}
    assert (made["usual"].count("."), made["other"].count(".")) == (2, 0)
    for one in (usual, other):
        assert auth.token("orders:read", client=one, kind="opaque").count(".") == 0
        assert auth.token("orders:read", client=one, kind="jwt").count(".") == 2


def test_a_bound_token_proves_its_key_with_each_request(auth: Auth, api: TestClient) -> None:
    token = auth.token("orders:read", dpop=True)
    proof = token.proof("GET", "http://testserver/vault?page=2")
    assert status(api, proof, "/vault") == 200
    assert status(api, proof, "/vault") == 401, "a proof works once"
    assert status(api, token.headers, "/vault") == 401
    with pytest.raises(ValueError, match="dpop=True"):
        auth.token().proof("GET", "http://testserver/vault")


def test_claims_of_a_sign_in_can_be_given(auth: Auth, api: TestClient) -> None:
    strong = {"acr": "2", "auth_time": int(auth.clock())}
    token = auth.token(claims=strong)
    assert status(api, token.headers, "/pay") == 200
    assert status(api, auth.token().headers, "/pay") == 401
    auth.clock.advance(61)
    assert status(api, token.headers, "/pay") == 401


async def test_a_coroutine_uses_it_in_the_same_way(auth: Auth) -> None:
    transport = httpx.ASGITransport(app=make_api(auth.guard(FastAPIGuard)))
    async with httpx.AsyncClient(transport=transport, base_url="http://api.test") as client:
        token = auth.token("orders:read")
        assert (await client.get("/orders", headers=token.headers)).status_code == 200
        auth.revoke(token)
        assert (await client.get("/orders", headers=token.headers)).status_code == 401
    async with auth.async_http() as server:
        assert (await server.get("/healthz")).status_code == 200


async def test_a_server_of_its_own_begins_and_ends_in_a_coroutine_too() -> None:
    async def hop() -> str:
        return await asyncio.to_thread(str, "done")  # by a thread that has to be ended with the loop

    with Worker() as worker, open_auth(worker) as auth:
        assert worker.run(hop()) == "done"
        assert auth.http.get("/healthz").status_code == 200
    assert worker._loop.is_closed()


def test_the_server_answers_like_the_real_one(auth: Auth) -> None:
    client = auth.client(scope="orders:read")
    credentials = (client.client.client_id, client.client_secret or "")
    answer = auth.http.post("/token", data={"grant_type": "client_credentials"}, auth=credentials)
    assert answer.status_code == 200
    seen = auth.http.post("/introspect", data={"token": answer.json()["access_token"]}, auth=credentials)
    assert seen.json()["active"] is True
    assert auth.http.get("/.well-known/oauth-authorization-server").json()["issuer"] == auth.issuer


def test_a_session_is_signed_in(auth: Auth) -> None:
    alice = auth.user("alice")
    session = auth.session(alice)
    assert session.user_id == alice.id
    page = auth.http.get("/account", headers=session.headers)
    assert (page.status_code, "alice" in page.text) == (200, True)
    assert auth.http.get("/account").status_code != 200
    assert auth.session().user_id == auth.session().user_id, "one person unless another is given"


def test_an_applications_own_guard_goes_back_to_its_issuer(auth: Auth) -> None:
    guard = FastAPIGuard("https://auth.example.com")
    named = FastAPIGuard("https://auth.example.com", audience="https://api.example.com")
    before = dict(vars(guard))
    assert auth.guard(guard) is guard
    assert (guard.issuer, guard.audience) == (auth.issuer, auth.issuer)
    assert auth.guard(named).audience == "https://api.example.com"
    assert status(TestClient(make_api(guard)), auth.token("orders:read").headers) == 200
    Metadata(guard)
    assert guard.metadata is not None
    auth.cleanup.close()
    assert guard.metadata is None
    assert vars(guard) == before


async def test_an_applications_own_guard_keeps_its_memory_of_proofs(auth: Auth) -> None:
    class Memory:
        def __init__(self) -> None:
            self.used: list[str] = []

        async def use_proof(self, identifier: str, seconds: int) -> bool:
            self.used.append(identifier)
            return len(self.used) == 1

    memory, token = Memory(), auth.token("orders:read", dpop=True)
    guard = auth.guard(Guard("https://auth.example.com", replays=memory))
    proofs = [token.proof("GET", "https://api.test/orders") for _ in range(2)]
    first, second = (
        Presented(authorization=(one["authorization"],), dpop=(one["dpop"],), uri="https://api.test/orders")
        for one in proofs
    )
    assert await guard.authenticate(first)
    with pytest.raises(Refused, match="used before"):
        await guard.authenticate(second)
    assert len(memory.used) == 2


def test_a_forked_child_does_not_wait_for_the_server_under_test(auth: Auth) -> None:
    def asked() -> int:
        return auth.http.get("/healthz").status_code

    assert asked() == 200
    assert "runs in the process that was forked" in in_a_child(asked)


@pytest.mark.parametrize("audience", [None, "https://api.example.com"])
def test_a_guard_whose_issuer_calls_the_api_by_another_name_keeps_that_name(
    auth: Auth, audience: str | None
) -> None:
    foreign = Trusted(issuer="https://login.example.org", audience="orders")
    api = TestClient(make_api(auth.guard(FastAPIGuard(foreign, audience=audience))))
    for kind in ("jwt", "opaque"):  # an API token is for an address
        assert status(api, auth.token("orders:read", audience="orders", kind=kind).headers) == 200
        assert status(api, auth.token("orders:read", audience=audience, kind=kind).headers) == 401


def test_a_person_for_whom_no_name_is_given_is_a_new_one(auth: Auth) -> None:
    auth.token("orders:read")
    assert len({auth.user().id, auth.user().id, auth.session().user_id}) == 3


def test_each_test_has_a_server_of_its_own(auth: Auth, request: pytest.FixtureRequest) -> None:
    assert isinstance(auth.guard(), Guard)
    auth.user("alice")  # the name was used in other tests
    assert threading.current_thread().name != "watchword-testing"


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (
            lambda auth: auth.token(audience=("https://a.example", "https://b.example")),
            "audience: the one name",
        ),
        (lambda auth: auth.token(audience=""), "audience: the one name"),
        (lambda auth: auth.token(lifetime=0), "lifetime: whole seconds"),
        (lambda auth: auth.token(lifetime=-60), "lifetime: whole seconds"),
        (lambda auth: auth.token(lifetime="60"), "lifetime: whole seconds"),
        (lambda auth: auth.token(kind="api_token", claims={"acr": "2"}), "an API token has none"),
        (lambda auth: auth.token(claims={"sub": "alice", "acr": "2"}), "claims: sub is what other arguments"),
        (lambda auth: auth.revoke(str(auth.token())), "token: one that this kit made, not str"),
        (lambda auth: auth.session("alice"), "user: somebody whom auth.user"),
        (
            lambda auth: auth.guard(Guard("https://auth.example.com"), sessions=()),
            "sessions: a guard that is there",
        ),
    ],
)
def test_what_would_be_another_test_than_was_meant_is_refused(
    auth: Auth, ask: Callable[[Auth], object], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        ask(auth)


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (
            lambda auth: auth.token(scope="orders:read"),
            r"^scope: a token is described by scopes, user, client,",
        ),
        (lambda auth: auth.revoked(expires_in=60), r"^expires_in: .* lifetime"),
        (lambda auth: auth.client(scopes="orders:read"), r"^scopes: a client is described by .*\bscope\b"),
    ],
)
def test_an_argument_that_there_is_not_is_answered_with_those_that_there_are(
    auth: Auth, ask: Callable[[Auth], object], words: str
) -> None:
    with pytest.raises(TypeError, match=words):
        ask(auth)


def test_type_checkers_know_every_field_of_a_client() -> None:
    assert ClientFields.__annotations__.keys() == set(ClientInput.__struct_fields__)


def blocks() -> dict[str, str]:
    """Return the programs of the guide by their file names."""
    text = GUIDE.read_text("utf-8")
    return dict(re.findall(r'```python title="(\S+)"\n(.*?)```', text, re.DOTALL))


def run(pytester: pytest.Pytester, *options: str) -> pytest.RunResult:
    """Run the tests with the kit and without plugins that nobody asked for, which take seconds to be read in."""
    alone = ("--disable-plugin-autoload", "-p", "watchword.testing", "-p", "no:cacheprovider", "-q")
    return pytester.runpytest_subprocess(*alone, *options)


def test_the_guide_works_as_it_stands(pytester: pytest.Pytester) -> None:
    programs = blocks()
    assert set(programs) == {
        "shop.py",
        "test_shop.py",
        "conftest.py",
        "test_module.py",
        "test_with_unittest.py",
    }
    pytester.makepyfile(**{name.removesuffix(".py"): text for name, text in programs.items()})
    run(pytester, "-p", "asyncio").assert_outcomes(passed=9)


def test_a_run_that_does_not_ask_for_it_imports_no_server(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import sys

        def test_nothing():
            assert "watchword.testing" in sys.modules
            assert "watchword.app" not in sys.modules
        """
    )
    run(pytester).assert_outcomes(passed=1)
    (point,) = importlib.metadata.entry_points(group="pytest11", name="watchword.testing")
    assert point.value == point.name, "asked for by name or found, it is one plugin"
