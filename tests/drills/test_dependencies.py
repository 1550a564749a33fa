"""F-23: what a server depends on elsewhere refuses, hangs or drips; people with accounts here notice nothing, and nobody waits for long.

Elsewhere are: the mail server, another provider to sign in with, applications that want to hear of sign-outs, documents and keys of
clients, the keys of a trusted issuer. The database is not elsewhere: that it is away is F-05, F-08 and F-11.
"""

import json
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import pytest
from tests.drills.conftest import HEAVY, KINDS, Drill
from tests.drills.load import VERIFIER, hidden
from tests.drills.sick import KEY, Elsewhere, Mode
from tests.drills.world import REDIRECT, SCOPE, Node, World, new_world
from tests.flows.test_client_credentials import ASSERTION

from watchword.flows.trust import trust_rules
from watchword.flows.trust.trust_rules import TrustInput
from watchword.jose import jwt
from watchword.oauth import pkce

BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
OUTSIDE = "https://ci.example"
MODES: tuple[Mode, ...] = ("refuse", "hang", "drip") if HEAVY else ("hang",)
AT_ONCE, TIMES = (10, 50) if HEAVY else (8, 8)  # of each kind of request
HEALS = 120.0
PATIENCE = 1200.0  # a mail that was tried three times waits for nine minutes
ADDRESS = "person@example.com"
BOUND = 60.0  # seconds that nobody waits, however busy the machine


@dataclass(slots=True)
class Dependents:
    """Those whose requests need what is elsewhere."""

    node: Node
    elsewhere: Elsewhere
    keyed: str
    trusting: tuple[str, str]

    def signed(self, issuer: str, subject: str) -> str:
        """Return something signed by the key that is published elsewhere."""
        now = int(time.time())
        claims: dict[str, object] = {
            "iss": issuer,
            "sub": subject,
            "aud": self.node.world.issuer,
            "iat": now,
            "exp": now + 120,
        }
        return jwt.encode(KEY, claims | {"jti": os.urandom(8).hex(), "ref": "main"}, typ="JWT")

    def by_key(self) -> httpx.Response:
        """A client whose keys are elsewhere asks for a token."""
        form = {"grant_type": "client_credentials", "client_assertion_type": ASSERTION}
        return self.post("/token", form | {"client_assertion": self.signed(self.keyed, self.keyed)})

    def by_issuer(self) -> httpx.Response:
        """A job of a trusted issuer asks for a token."""
        form = {"grant_type": BEARER, "assertion": self.signed(OUTSIDE, "a job")}
        return self.post("/token", form, auth=self.trusting)

    def by_provider(self) -> httpx.Response:
        """A person wants to sign in with another provider."""
        return httpx.get(self.node.address + "/upstream/hub", timeout=BOUND)

    def by_document(self) -> httpx.Response:
        """A client is known by its document."""
        parameters = {
            "client_id": f"{self.elsewhere.base}/client", "redirect_uri": REDIRECT, "response_type": "code", "state": "s",
            "code_challenge": pkce.challenge_of(VERIFIER), "code_challenge_method": "S256",
        }  # fmt: skip
        return httpx.get(self.node.address + "/authorize", params=parameters, timeout=BOUND)

    def by_mail(self) -> httpx.Response:
        """A person has forgotten the password."""
        with httpx.Client(
            base_url=self.node.address, timeout=BOUND, headers={"connection": "close"}
        ) as browser:
            page = browser.get("/recover")
            return browser.post(
                "/recover",
                data=hidden(page.text) | {"email": ADDRESS, "identifier": ADDRESS},
            )

    def post(self, path: str, form: dict[str, str], auth: tuple[str, str] | None = None) -> httpx.Response:
        """Send a form."""
        return httpx.post(self.node.address + path, data=form, auth=auth, timeout=BOUND)

    def all(self) -> tuple[Callable[[], httpx.Response], ...]:
        """Return every kind of request."""
        return (self.by_key, self.by_issuer, self.by_provider, self.by_document, self.by_mail)


def options(elsewhere: Elsewhere) -> dict[str, str]:
    """Return the settings of a server that depends on all of it."""
    hub = {
        "name": "hub",
        "title": "The Hub",
        "client_id": "us",
        "client_secret": "x",
        "issuer": elsewhere.base,
    }
    return {
        "FETCH_ALLOW_LOOPBACK": "1", "UPSTREAM": json.dumps([hub]), "ANONYMOUS_PER_MINUTE": "100000",
        "ACCESS_TOKEN_LIFETIME": "3600",
        "SMTP_URL": f"smtp://127.0.0.1:{elsewhere.ports['smtp']}", "MAIL_FROM": "auth@example.com",
    }  # fmt: skip


def depend(world: World, elsewhere: Elsewhere) -> Dependents:
    """Register everybody; the clients of the load hear of sign-outs elsewhere."""
    world.client_id, world.client_secret = world.add_client(
        name="the load", redirect_uris=[REDIRECT], grant_types=["authorization_code", "refresh_token", "client_credentials"],
        scope=SCOPE + " introspect", access_token_format="opaque", backchannel_logout_uri=elsewhere.base + "/logout",
    )  # fmt: skip
    keyed, _ = world.add_client(
        name="by key", grant_types=["client_credentials"], scope="orders:read", token_endpoint_auth_method="private_key_jwt",
        jwks_uri=elsewhere.base + "/jwks",
    )  # fmt: skip
    trusting = world.add_client(name="by issuer", grant_types=["jwt_bearer"], scope="orders:read")
    rule = TrustInput(
        name="ci", issuer=OUTSIDE, scope="orders:read", subject="ci:{ref}", claims={"ref": "main"}, jwks_uri=elsewhere.base + "/jwks?ci"
    )  # fmt: skip
    world.within(lambda runtime: trust_rules.create(runtime, rule, actor="test"))
    world.sql(
        f"UPDATE users SET email = '{ADDRESS}', canonical_email = '{ADDRESS}', email_verified_at = 1 WHERE username = '{world.people[-1]}'"
    )
    return Dependents(world.node(), elsewhere, keyed, trusting)


@pytest.fixture
def elsewhere() -> Iterator[Elsewhere]:
    """What is elsewhere, well."""
    with Elsewhere().running() as made:
        yield made


def ask_all(dependents: Dependents) -> tuple[set[tuple[str, int]], float]:
    """Ask everything many times at once; return what was answered, and the longest time that anybody waited."""
    longest = 0.0

    def timed(ask: Callable[[], httpx.Response]) -> tuple[str, int]:
        nonlocal longest
        begun = time.monotonic()
        answer = ask()
        longest = max(longest, time.monotonic() - begun)
        assert answer.status_code != 503 or answer.headers["retry-after"]
        return ask.__name__, answer.status_code

    with ThreadPoolExecutor(AT_ONCE * 5) as pool:
        return set(pool.map(timed, dependents.all() * TIMES)), longest


def wait_until_well(dependents: Dependents) -> float:
    """Return after how many seconds everybody is served as before."""
    begun = time.monotonic()
    for ask in dependents.all():
        while ask().status_code not in (200, 303):
            assert time.monotonic() - begun < HEALS, ask.__name__
            time.sleep(0.5)
    return time.monotonic() - begun


@pytest.mark.parametrize("address", KINDS if HEAVY else KINDS[:1], indirect=True)
@pytest.mark.timeout(3600)
def test_f_23_what_is_elsewhere_is_sick_and_local_people_are_well(
    address: str, drill: Drill, tmp_path: Path, elsewhere: Elsewhere
) -> None:
    longest, healed, told = 0.0, 0.0, 0
    with new_world(tmp_path, address, **options(elsewhere)) as world:
        dependents = depend(world, elsewhere)
        node = dependents.node
        node.start()
        wait_until_well(dependents)
        assert node.process is not None
        open_before = psutil.Process(node.process.pid).num_fds()
        with drill.load(world, 2, seed=23) as load:
            for mode in MODES:
                elsewhere.become(mode)
                node.kill()
                node.start()  # what it had read while all was well is forgotten
                answered, waited = ask_all(dependents)
                drill.acknowledge(20)
                assert {status for _, status in answered} <= {200, 303, 400, 401, 429, 503}, answered
                assert waited < BOUND, "a hang is bounded"
                longest = max(longest, waited)
                elsewhere.become("well")
                if HEAVY:
                    told = elsewhere.asked["/logout"]
                    healed = max(healed, wait_until_well(dependents))
            drill.acknowledge(10)
        if HEAVY:
            wait_for(lambda: elsewhere.asked["/logout"] > told, "applications hear of it in the end")
            wait_for(lambda: elsewhere.mails > 0, "mail arrives in the end")
        wait_for(
            lambda: psutil.Process(node.process.pid).num_fds() <= open_before + 40,
            "nothing is left open",  # type: ignore[union-attr]  # it runs
        )
        drill.assert_sound(world, load)
    drill.report(modes=len(MODES), waited=longest, healed=healed)


def wait_for(happened: Callable[[], bool], what: str) -> None:
    """Wait until something happened."""
    deadline = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < deadline, what
        time.sleep(0.2)
