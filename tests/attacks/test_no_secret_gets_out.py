"""LGX-1: secrets sent to every endpoint in every place are in no log line, no trace, no metric label and nothing that is kept."""

import base64
import json
import re
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import pytest
import pytest_asyncio
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from tests.fixtures.accounts import another
from tests.fixtures.code_flow import VERIFIER, obtain_code, redeem, refresh, register
from tests.fixtures.people import PASSWORD, Person, letters
from tests.fixtures.postgres import Store
from tests.fixtures.servers import Server, open_server
from tests.flows.conftest import stored  # noqa: F401 - a fixture
from tests.flows.test_metrics import spans  # noqa: F401 - a fixture

from watchword.app.routes import every_route
from watchword.flows.databases import start
from watchword.oauth import token_format
from watchword.telemetry import log

# Every parameter by which a secret may come, with what makes it one.
NAMES = (
    "token", "code", "refresh_token", "client_secret", "code_verifier", "password", "new_password", "current_password",
    "assertion", "client_assertion", "subject_token", "actor_token", "device_code", "user_code", "link", "csrf", "interaction",
    "identifier", "username", "email", "secret", "request", "request_uri", "id_token_hint", "logout_token", "state", "nonce",
    "recovery_code", "code_challenge", "challenge", "proof", "response", "name",
)  # fmt: skip


@pytest_asyncio.fixture
async def server(store: Store, tmp_path: Path) -> AsyncIterator[Server]:
    """The application in development, where the log says most."""
    options = {
        "key_file": str(tmp_path / "key"),
        "mode": "development",
        "registration": "open",
        "tracing": True,
    }
    async with open_server(tmp_path, database=store.address, **options) as opened:
        yield opened


@pytest.fixture
def loud() -> Iterator[None]:
    """The log at the level that says most."""
    log.configure("json", "debug")
    yield
    log.configure("json", "info")


def canaries(brand: str = "ww") -> dict[str, str]:
    """Well-formed credentials of every kind that nobody issued, and other secrets."""
    made = {
        kind: token_format.make(brand, kind, bytes([n]) * token_format.ENTROPY_BYTES)
        for n, kind in enumerate(sorted(token_format.KINDS), 1)
    }
    head = (
        base64.urlsafe_b64encode(json.dumps({"alg": "ES256", "typ": "at+jwt"}).encode()).decode().rstrip("=")
    )
    made["jwt"] = f"{head}.eyJzdWIiOiJjYW5hcnktYm9keSJ9.Y2FuYXJ5LXNpZ25hdHVyZQ"
    return made


def parts(secret: str) -> tuple[str, ...]:
    """Return what of a secret may be nowhere."""
    if secret.count(".") == 2:
        return tuple(secret.split(".")[1:])
    return (secret.partition("_")[2][:30] or secret,)


async def send_everywhere(server: Server, secrets: Sequence[str]) -> int:
    """Send secrets to every endpoint in every place that a request has; return how many requests that were."""
    sent = 0
    for number, (path, method, _) in enumerate(every_route()):
        # What is kept comes into the tables of either database by the same statements: on PostgreSQL the kinds take turns.
        turn = number % len(secrets)
        for secret in secrets[turn : turn + 1] if server.settings.is_postgres else secrets:
            target = re.sub(r"\{\w+\}", secret, path)
            for way in ways_of(method, secret):
                answer = await server.http.request(method, target, **way)  # type: ignore[arg-type]  # as httpx takes them
                assert answer.status_code != 500, (method, target, answer.text[:300])
                sent += 1
    return sent


def ways_of(method: str, secret: str) -> list[dict[str, object]]:
    """Return requests that carry a secret, each in other places."""
    basic = base64.b64encode(f"{secret}:{secret}".encode()).decode()
    form = dict.fromkeys(NAMES, secret) | {"grant_type": "authorization_code"}
    ways: list[dict[str, object]] = [
        {"headers": {"authorization": f"Bearer {secret}", "dpop": secret}},
        {"headers": {"authorization": f"Basic {basic}"}, "params": {"token": secret, "code": secret}},
        {"headers": {"cookie": f"__Host-session={secret}; session={secret}", "traceparent": secret}},
    ]
    if method in ("POST", "PUT", "PATCH"):
        ways += [{"data": form}, {"json": form}, {"content": secret.encode()}]
    return ways


@pytest.mark.usefixtures("loud")
async def test_lgx_1_canaries_through_every_endpoint_are_in_no_log_trace_label_or_table(
    server: Server,
    spans: InMemorySpanExporter,  # noqa: F811 - the fixture
    stored: object,  # noqa: F811 - the fixture
    capsys: pytest.CaptureFixture[str],
) -> None:
    secrets = canaries()
    routes = {(path, method) for path, method, _ in every_route()}
    assert await send_everywhere(server, list(secrets.values())) >= 3 * len(routes)
    genuine = await use_genuine_ones(server)
    written = capsys.readouterr().err
    traces = "".join(span.to_json() for span in spans.get_finished_spans())
    reader = await server.token(scope="watchword:metrics:read")
    labels = (await server.http.get("/metrics", headers={"authorization": f"Bearer {reader.secret}"})).text
    kept = stored().decode("latin-1")  # type: ignore[operator]  # the fixture is a function
    seen = {(span.attributes or {}).get("http.route") for span in spans.get_finished_spans()}
    assert {path for path, _ in routes} <= seen, "what was traced is what was looked at"
    assert "request.refused" in written
    places = {"log": written, "trace": traces, "label": labels, "database": kept}
    for secret in (*secrets.values(), *genuine):
        for part in parts(secret):
            leaks = [name for name, text in places.items() if part in text]
            assert not leaks, f"a secret of kind {secret[:4]} is in: {leaks}"


async def use_genuine_ones(server: Server) -> list[str]:
    """Walk the honest ways with real secrets; return all that were used."""
    client = await register(server, access_token_format="opaque")
    answer = await obtain_code(server, client)
    tokens = (await redeem(server, client, answer["code"])).json()
    fresh = (await refresh(server, client, tokens["refresh_token"])).json()
    api_token = await server.token(scope="orders:read")
    headers = {"authorization": f"Bearer {api_token.secret}"}
    assert (await server.http.get("/api/v1/tokens/self", headers=headers)).status_code == 200
    assert (await server.post("/introspect", client, token=fresh["access_token"])).status_code == 200
    assert (await server.post("/revoke", client, token=fresh["refresh_token"])).status_code == 200
    link = await start.setup_link(server.runtime)
    person = Person(server, server.http)
    cookies = [value for name, value in server.http.cookies.items() if "session" in name]
    await person.open("/account")
    return [
        *(str(document[name]) for document in (tokens, fresh) for name in ("access_token", "refresh_token")),
        answer["code"], api_token.secret, str(client.client_secret), PASSWORD, VERIFIER,
        *([link.partition("link=")[2]] if link else []), *cookies,
    ]  # fmt: skip


@pytest.mark.usefixtures("loud")
@pytest.mark.parametrize("form", ["/sign-in", "/recover"])
async def test_lgx_1_a_password_typed_into_the_field_of_the_name_is_kept_nowhere(
    server: Server,
    form: str,
    stored: object,  # noqa: F811 - the fixture
    capsys: pytest.CaptureFixture[str],
) -> None:
    typed = "Canary-Correct-Horse-7"
    someone = Person(server, another(server))
    given = {"identifier": typed} | ({"password": "x"} if form == "/sign-in" else {})
    answers = []
    for _ in range(11):
        await someone.open(form)
        answers.append((await someone.send(given, having="identifier")).status_code)
        await letters(server)  # a request for a new password is looked up afterwards
    assert answers == ([401] * 10 + [429] if form == "/sign-in" else [200] * 11), "it was taken and counted"
    written = capsys.readouterr().err.lower()
    kept = stored().decode("latin-1").lower()  # type: ignore[operator]  # the fixture is a function
    assert ("account " if form == "/sign-in" else "recover ") in kept, "the honest variant: there is a count"
    for part in ("canary", "horse"):
        assert part not in written
        assert part not in kept
