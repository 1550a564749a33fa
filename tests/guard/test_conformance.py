"""One table of requests and answers for every framework: the adapters under `examples/` differ in nothing that a caller sees."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from tests.cli.test_base_install import FRAMEWORKS
from tests.guard.example_apps import APPLICATIONS, BASE, Answer, Call, Headers, load

from watchword.guard import Guard
from watchword.oauth import dpop
from watchword.testing.credentials import Token
from watchword.testing.kit import Auth

ROOT = Path(__file__).parents[2]
METADATA = f"{BASE}/.well-known/oauth-protected-resource"
WHERE = f'resource_metadata="{METADATA}"'
NOT_VALID = f'Bearer error="invalid_token", error_description="The access token is not valid.", {WHERE}'
MALFORMED = f'Bearer error="invalid_token", error_description="The access token is malformed.", {WHERE}'
ANONYMOUS = f'Bearer scope="orders:read", {WHERE}'
STEP_UP = (
    'Bearer error="insufficient_user_authentication", '
    'error_description="A stronger or more recent sign-in is needed.", acr_values="urn:watchword:aal2", max_age="300", '
    + WHERE
)
ALGS = f'algs="{dpop.ALGS}"'
ANONYMOUS_DPOP = f'DPoP scope="orders:read", {ALGS}, {WHERE}'
ORDERS = ("orders:read",)


def bearer(token: str) -> Headers:
    """Return the header that presents a token."""
    return [("authorization", f"Bearer {token}")]


def proven(auth: Auth, name: str) -> Headers:
    """Return a bound token with its proof, for the address that the framework's requests have."""
    token: Token = auth.token(ORDERS, audience=BASE, dpop=True)
    if name.startswith("grpc"):
        return list(token.proof("POST", f"{BASE}/shop.Shop/orders").items())
    return list(token.proof("GET", f"{BASE}/orders").items())


def as_bearer(auth: Auth, name: str) -> Headers:
    """Return a bound token with its proof, in the scheme of tokens that are bound to nothing."""
    return [(header, value.replace("DPoP ", "Bearer ", 1)) for header, value in proven(auth, name)]


def confirmed(auth: Auth, cnf: object) -> Token:
    """Return a token with this confirmation (RFC 7800 §3.1)."""
    return auth.token(ORDERS, audience=BASE, claims={"cnf": cnf})


def misbound(cnf: object, auth: Auth, _name: str) -> Headers:
    """Return the header that presents a token with a malformed confirmation."""
    return bearer(confirmed(auth, cnf))


@dataclass(frozen=True, slots=True)
class Case:
    """A request and its answer; `headers` are made of the server and the application's name."""

    says: str
    headers: Callable[[Auth, str], Headers]
    status: int
    challenge: str | None = None
    path: str = "/orders"
    twice: bool = False


CASES = (
    Case("a public endpoint asks for nothing", lambda a, n: [], 200, path="/public"),
    Case("no credential: no error code, the scope is named", lambda a, n: [], 401, ANONYMOUS),
    Case("another scheme is no credential", lambda a, n: [("authorization", "Basic eDp5")], 401, ANONYMOUS),
    Case("a garbled token", lambda a, n: bearer("wwa_" + "0" * 36), 401, NOT_VALID),
    Case("what can be no token at all", lambda a, n: bearer("a b\\"), 401, MALFORMED),
    Case("a scheme without a token is no credential", lambda a, n: [("authorization", "Bearer")], 401, ANONYMOUS),
    *(
        Case(
            f"{says}, sent with DPoP",
            lambda a, n, token=token: [("authorization", f"DPoP {token}")],
            401,
            f'DPoP error="invalid_token", error_description="The access token is {what}.", {ALGS}, {WHERE}',
        )
        for says, token, what in (
            ("a garbled token", "wwa_" + "0" * 36, "not valid"),
            ("a JWT that is none", "a.b.c", "not valid"),
            ("what can be no token at all", "a b\\", "malformed"),
        )
    ),
    Case("DPoP without a token is no credential", lambda a, n: [("authorization", "DPoP")], 401, ANONYMOUS_DPOP),
    Case("an expired token", lambda a, n: bearer(a.expired(ORDERS, audience=BASE)), 401, NOT_VALID),
    Case("a forged token", lambda a, n: bearer(a.forged(ORDERS, audience=BASE)), 401, NOT_VALID),
    Case("a revoked API token", lambda a, n: bearer(a.revoked(ORDERS, audience=BASE, kind="api_token")), 401, NOT_VALID),
    Case(
        "a token for another API",
        lambda a, n: bearer(a.wrong_audience(ORDERS)),
        401,
        f'Bearer error="invalid_token", error_description="The token is meant for another API.", {WHERE}',
    ),
    Case(
        "all scopes are named at once, though one is there",
        lambda a, n: bearer(a.token(ORDERS, audience=BASE)),
        403,
        'Bearer error="insufficient_scope", error_description="This needs the scopes orders:read reports:read.", '
        f'scope="orders:read reports:read", {WHERE}',
        path="/reports",
    ),
    Case("a good JWT", lambda a, n: bearer(a.token(ORDERS, audience=BASE)), 200),
    Case("a good API token", lambda a, n: bearer(a.token(ORDERS, audience=BASE, kind="api_token")), 200),
    Case("a good opaque token", lambda a, n: bearer(a.token(ORDERS, audience=BASE, kind="opaque")), 200),
    Case("a good token, seen before", lambda a, n: bearer(a.token(ORDERS, audience=BASE)), 200, twice=True),
    Case("both scopes", lambda a, n: bearer(a.token("orders:read reports:read", audience=BASE)), 200, path="/reports"),
    Case("any caller may ask who it is", lambda a, n: bearer(a.token("profile", audience=BASE)), 200, path="/whoami"),
    Case("the scheme in lower case", lambda a, n: [("authorization", f"bearer {a.token(ORDERS, audience=BASE)}")], 200),
    Case(
        "two Authorization headers (UI-03)",
        lambda a, n: [*bearer(a.token(ORDERS, audience=BASE)), ("authorization", "Bearer other")],
        400,
        'Bearer error="invalid_request", '
        f'error_description="The Authorization header was sent more than once.", {WHERE}',
    ),
    Case("a bound token with its proof", proven, 200),
    Case(
        "a proof used before (DP-51)",
        proven,
        401,
        'DPoP error="invalid_dpop_proof", error_description="The DPoP proof was used before.", '
        f'{ALGS}, {WHERE}',
        twice=True,
    ),
    *(
        Case(
            f"a bound token {says}",
            headers,
            401,
            'DPoP error="invalid_token", '
            'error_description="The token is bound to a key: send it with the scheme DPoP and a proof.", '
            f'{ALGS}, {WHERE}',
        )
        for says, headers in (
            ("without a proof", lambda a, n: bearer(a.token(ORDERS, audience=BASE, dpop=True))),
            ("with its proof, sent as Bearer", as_bearer),
        )
    ),
    Case(
        "an unbound token that is sent as a bound one",
        lambda a, n: [("authorization", f"DPoP {a.token(ORDERS, audience=BASE)}")],
        401,
        f'Bearer error="invalid_token", error_description="The token is not bound to a key.", {WHERE}',
    ),
    Case("a token bound in a way of its own", lambda a, n: bearer(confirmed(a, {"kid": "k"})), 200),
    *(
        Case(f"a token that does not say properly to what it is bound: {cnf}", partial(misbound, cnf), 401, NOT_VALID)
        for cnf in ("jkt", ["jkt"], {"jkt": 5}, {"jkt": None}, {"jkt": ["a" * 43]}, {"x5t#S256": None}, {"x5t#S256": {}, "kid": "k"})
    ),
    Case("a weak sign-in", lambda a, n: bearer(a.token(ORDERS, audience=BASE)), 401, STEP_UP, path="/transfer"),
    Case("a weak sign-in, found by the endpoint", lambda a, n: bearer(a.token(ORDERS, audience=BASE)), 401, STEP_UP, path="/refund"),
    Case("nobody, found by the endpoint", lambda a, n: [], 401, f"Bearer {WHERE}", path="/refund"),
    Case(
        "a strong and recent sign-in, found by the endpoint",
        lambda a, n: bearer(a.token(audience=BASE, claims={"acr": "urn:watchword:aal2", "auth_time": int(a.clock())})),
        200,
        path="/refund",
    ),
    Case(
        "an old sign-in",
        lambda a, n: bearer(a.token(audience=BASE, claims={"acr": "urn:watchword:aal2", "auth_time": int(a.clock()) - 301})),
        401,
        STEP_UP,
        path="/transfer",
    ),
    Case(
        "a strong and recent sign-in",
        lambda a, n: bearer(a.token(audience=BASE, claims={"acr": "urn:watchword:aal2", "auth_time": int(a.clock())})),
        200,
        path="/transfer",
    ),
)  # fmt: skip


@contextlib.contextmanager
def guarded_like(guard: Guard, other: Guard) -> Iterator[None]:
    """Let the guard of an application be another one for a while."""
    before = dict(vars(guard))
    vars(guard).update(vars(other))
    yield
    vars(guard).update(before)


@pytest.fixture(params=APPLICATIONS)
def application(request: pytest.FixtureRequest, auth: Auth) -> Iterator[tuple[str, Call]]:
    """An example application that trusts the server under test, and its name."""
    name: str = request.param
    module, opened = APPLICATIONS[name]
    with opened() as call:
        guard = auth.guard(load(module).guard)
        if name.startswith("grpc"):  # which publishes no metadata itself
            guard.resource_metadata = METADATA
        yield name, call


def test_every_framework_that_has_a_guard_is_asked_and_shown() -> None:
    adapters = {
        path.stem
        for path in (ROOT / "src" / "watchword" / "guard").glob("*.py")
        if "import needing" in path.read_text("utf-8")
    }
    assert adapters == set(FRAMEWORKS)
    assert adapters - set(APPLICATIONS) == {"mcp_sdk", "fastmcp"}, "whose callers speak MCP"
    pages = [path.read_text("utf-8") for path in (ROOT / "docs").rglob("*.md")]
    assert not [name for name in adapters if not any(f"watchword.guard.{name}" in page for page in pages)]


def test_every_framework_answers_alike(application: tuple[str, Call], auth: Auth) -> None:
    name, call = application
    wrong = {}
    for case in CASES:
        headers = case.headers(auth, name)
        answers = [call("GET", case.path, headers) for _ in range(2 if case.twice else 1)]
        expected = [(200, None)] * (len(answers) - 1) + [(case.status, case.challenge)]
        said = all(
            answer.says("sub") for answer in answers if answer.status == 200 and case.path != "/public"
        )
        if [(answer.status, answer.challenge) for answer in answers] != expected or not said:
            wrong[case.says] = answers
    assert wrong == {}


def test_where_a_credential_is_optional_one_that_is_presented_must_be_good(
    application: tuple[str, Call], auth: Auth
) -> None:
    name, call = application
    nobody = call("GET", "/catalog", [])
    assert (nobody.status, nobody.challenge, nobody.says("hello")) == (200, None, "world")
    token = auth.token(ORDERS, audience=BASE)
    known = call("GET", "/orders", bearer(token)).says("sub")
    assert call("GET", "/catalog", bearer(token)).says("hello") == known != "world"
    assert call("GET", "/catalog", []).says("hello") == "world", "nobody inherits a caller"
    poor = call("GET", "/catalog", bearer(auth.token("profile", audience=BASE)))
    assert (poor.status, "insufficient_scope" in str(poor.challenge)) == (403, True)
    refused = [
        (case.says, case.headers(auth, name), (case.status, case.challenge))
        for case in CASES
        if case.path == "/orders" and case.status != 200 and not case.twice
    ]
    refused += [
        ("an empty header", [("authorization", "")], (401, ANONYMOUS)),
        ("a proof without a token", [("dpop", "a.b.c")], (401, ANONYMOUS)),
    ]
    answers = {says: (call("GET", "/catalog", headers), due) for says, headers, due in refused if headers}
    assert len(answers) > 20
    wrong = {
        says: answer for says, (answer, due) in answers.items() if (answer.status, answer.challenge) != due
    }
    assert wrong == {}


def test_no_method_and_no_place_gets_around_the_guard(application: tuple[str, Call], auth: Auth) -> None:
    name, call = application
    token = auth.token(ORDERS, audience=BASE)
    honest = call("GET", "/orders", bearer(token))
    assert honest.says("sub"), "the honest request"
    refused = [call("GET", "/orders", bearer("a" * 20_000))]  # its server may already refuse so long a header
    assert refused[0].status in (400, 401, 431)
    if not name.startswith("grpc"):
        refused += [call(method, "/orders", []) for method in ("HEAD", "OPTIONS", "POST", "PUT", "TRACE")]
        in_query = call("GET", f"/orders?access_token={token}", [])
        assert (in_query.status, in_query.challenge) == (401, ANONYMOUS), "UI-02"
        assert call("HEAD", "/orders", []).status in (401, 405)
    assert not any(answer.says("sub") for answer in refused)
    if not name.startswith("grpc"):
        kept = [
            answer
            for answer in refused
            if answer.headers.get("cache-control") != "no-store" and answer.status in (401, 403)
        ]
        assert kept == [], "what is said of one caller's credential is for no cache"


def test_the_challenge_leads_to_the_metadata_and_they_to_the_issuer(
    application: tuple[str, Call], auth: Auth
) -> None:
    name, call = application
    if name.startswith("grpc"):
        return
    assert WHERE in str(call("GET", "/orders", []).challenge)
    answer = call("GET", METADATA.removeprefix(BASE), [])
    assert (answer.status, answer.says("resource")) == (200, BASE), "RFC 9728 section 3.3"
    assert answer.says("authorization_servers") == [auth.issuer]
    assert answer.says("scopes_supported") == ["orders:read"]


def test_a_path_that_is_not_there_is_not_found(application: tuple[str, Call]) -> None:
    name, call = application
    if not name.startswith("grpc"):  # which has methods and no paths
        assert call("GET", "/nothing", []).status == 404


def test_a_revocation_is_noticed_with_the_next_request(application: tuple[str, Call], auth: Auth) -> None:
    _, call = application
    token = auth.token(ORDERS, audience=BASE, kind="api_token")
    answers: list[Answer] = [call("GET", "/orders", bearer(token)) for _ in range(2)]
    assert [answer.status for answer in answers] == [200, 200]
    auth.revoke(token)
    assert call("GET", "/orders", bearer(token)).challenge == NOT_VALID


def test_an_issuer_out_of_reach_is_503_and_never_401(application: tuple[str, Call], auth: Auth) -> None:
    name, call = application
    token = auth.token(ORDERS, audience=BASE)
    assert call("GET", "/orders", bearer(token)).status == 200, "the honest request"
    nobody = Guard("http://127.0.0.1:9", audience=BASE)
    with guarded_like(load(APPLICATIONS[name][0]).guard, nobody):
        answer = call("GET", "/orders", bearer(token))
    assert (answer.status, answer.challenge, answer.headers.get("retry-after")) == (503, None, "2"), (
        answer.body
    )


def test_a_caller_is_told_the_nonce_that_its_proof_lacks(application: tuple[str, Call], auth: Auth) -> None:
    name, call = application
    strict = auth.guard(audience=BASE, dpop_nonce_key=bytes(32))
    with guarded_like(load(APPLICATIONS[name][0]).guard, strict):
        answer = call("GET", "/orders", proven(auth, name))
        assert (answer.status, answer.challenge.startswith('DPoP error="use_dpop_nonce"')) == (401, True)
        told = {header.lower(): value for header, value in answer.headers.items()}
        assert told["dpop-nonce"] == strict.possession.nonce()
