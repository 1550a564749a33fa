"""The load of a drill, as faults find it: people who sign in, clients that get, refresh, revoke and ask about tokens, over every node.

A walker is one person with a browser and one client's tokens. It behaves as a well-written client does: what was not answered it
asks for again, with the same token. What is true for certain it remembers, and what is not it never claims.
"""

import html
import random
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

import httpx
from tests.drills.ledger import Ledger
from tests.drills.world import REDIRECT, SCOPE, World
from tests.fixtures.browser import PASSWORD

from watchword.oauth import pkce

VERIFIER = "drill-verifier-" + "v" * 40
PATIENCE = 60.0


@dataclass(slots=True)
class Family:
    """The tokens of one grant as the client knows them; `certain` is lost when a revocation was never answered."""

    code: str
    refresh: str
    access: list[str] = field(default_factory=list)
    rotated: list[str] = field(default_factory=list)
    revoked: list[str] = field(default_factory=list)
    alive: bool = True
    certain: bool = True


@dataclass(slots=True)
class Answer:
    """What came back; status 0 when nothing did, and `sent` False when nothing was sent either."""

    status: int = 0
    document: dict[str, object] = field(default_factory=dict)
    location: str = ""
    text: str = ""
    sent: bool = True


class Walker:
    """One person and one client's tokens."""

    def __init__(self, world: World, ledger: Ledger, person: str, seed: int) -> None:
        self.world, self.ledger, self.person = world, ledger, person
        self.random = random.Random(seed)
        self.http = httpx.Client(verify=False, timeout=15, limits=httpx.Limits(max_keepalive_connections=4))
        self.families: list[Family] = []
        self.api_tokens: dict[
            str, tuple[str, bool | None]
        ] = {}  # by identifier: secret, alive (None: nobody knows)
        self.violations: list[str] = []
        self.signed_in = False

    # one request

    def ask(self, op: str, method: str, path: str, token: str = "", **options: object) -> Answer:
        """Send one request to any node and write down what became of it."""
        node = self.random.choice(self.world.nodes)
        entry = self.ledger.begin(op, client=self.world.client_id, subject=self.person, token=token)
        try:
            got = self.http.request(method, node.address + path, **options)  # type: ignore[arg-type]  # as httpx takes them
        except httpx.ConnectError:
            self.ledger.end(entry, "refused", error="connect")
            time.sleep(0.05)  # nobody is helped by asking all the time
            return Answer(sent=False)
        except httpx.HTTPError as error:
            self.ledger.end(entry, "unknown", error=type(error).__name__)
            return Answer()
        is_json = got.headers.get("content-type", "").startswith("application/json") and bool(got.content)
        answer = Answer(
            got.status_code, got.json() if is_json else {}, got.headers.get("location", ""), got.text
        )
        done = got.status_code < 400
        error = "" if done else str(answer.document.get("error", ""))
        retry_after = got.headers.get("retry-after", "")
        self.ledger.end(entry, "acked" if done else "refused", got.status_code, error, retry_after)
        return answer

    def client(self, op: str, path: str, about: str = "", **form: str) -> Answer:
        """Send a form as the client."""
        auth = (self.world.client_id, self.world.client_secret)
        return self.ask(op, "POST", path, about, data=form, auth=auth)

    def until_answered(self, ask: Callable[[str], Answer]) -> tuple[Answer, bool, float]:
        """Ask until there is an answer that is no outage; return it, whether an attempt before may have been done, and for how long."""
        begun, suffix, doubtful = time.monotonic(), "", False
        while True:
            answer = ask(suffix)
            if answer.status not in (0, 503, 429):
                return answer, doubtful, time.monotonic() - begun
            if time.monotonic() - begun > PATIENCE:
                return answer, doubtful, PATIENCE
            # A 503 may also answer a commit of which the server itself does not know whether it was done.
            doubtful = doubtful or answer.sent
            suffix = ".again" if doubtful else ""
            time.sleep(0.05)

    def violate(self, what: str) -> None:
        """Note that something happened which never may."""
        self.violations.append(f"{time.time():.2f} {self.person}: {what}")

    # what people do

    def sign_in(self) -> bool:
        """Sign in with the password, and agree once to what the client asks for."""
        page = self.ask("sign-in.page", "GET", "/sign-in")
        self.signed_in = page.status == 303  # a sign-in that was not answered was done, or a sign-out was not
        if page.status != 200:
            return self.signed_in
        form = hidden(page.text) | {"identifier": self.person, "password": PASSWORD}
        answer = self.ask("sign-in", "POST", "/sign-in", data=form)
        self.signed_in = answer.status == 303
        return self.signed_in

    def sign_out(self) -> None:
        """Sign out; the cookie from before must be worth nothing then."""
        stolen = dict(self.http.cookies)
        page = self.ask("sign-out.page", "GET", "/sign-out")
        if page.status != 200:
            return
        answer = self.ask("sign-out", "POST", "/sign-out", data=hidden(page.text) | {"decision": "sign_out"})
        self.signed_in = False
        if answer.status == 303:
            with httpx.Client(verify=False, cookies=stolen, timeout=15) as thief:
                shown = thief.get(self.random.choice(self.world.nodes).address + "/account")
            if shown.status_code == 200:
                self.violate("I2: a session lives after its sign-out was acknowledged")

    def authorize(self) -> str:
        """Return a code for the session, agreeing where asked; empty when there is none to be had now."""
        parameters = {
            "client_id": self.world.client_id, "redirect_uri": REDIRECT, "response_type": "code", "scope": SCOPE,
            "state": "s", "code_challenge": pkce.challenge_of(VERIFIER), "code_challenge_method": "S256",
        }  # fmt: skip
        answer = self.ask("authorize", "GET", "/authorize", params=parameters)
        if answer.status == 303 and "/sign-in" in answer.location:
            self.signed_in = False
            return ""
        if answer.status == 200 and 'name="interaction"' in answer.text:
            answer = self.ask(
                "consent", "POST", "/authorize/consent", data=hidden(answer.text) | {"decision": "approve"}
            )
        if answer.status != 303 or not answer.location.startswith(REDIRECT):
            return ""
        code = parse_qs(urlsplit(answer.location).query).get("code", [""])[0]
        self.ledger.keep(code)
        return code

    # what clients do

    def get_tokens(self) -> None:
        """The code flow."""
        if not self.signed_in and not self.sign_in():
            return
        code = self.authorize()
        if not code:
            return
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": REDIRECT,
            "code_verifier": VERIFIER,
        }
        answer, doubtful, took = self.until_answered(
            lambda again: self.client("code" + again, "/token", code, **form)
        )
        if answer.status == 200:
            family = Family(
                code, str(answer.document["refresh_token"]), [str(answer.document["access_token"])]
            )
            self.ledger.keep(family.refresh, *family.access)
            self.families.append(family)
        elif not doubtful and took < self.world.grace:
            self.violate(f"I6: a fresh code was answered {answer.status} {answer.document}")

    def refresh(self) -> None:
        """Rotate a live refresh token."""
        family = self.pick()
        if family is not None:
            self.rotate(family)

    def rotate(self, family: Family) -> None:
        """Use a family's refresh token; what was not answered is asked again."""
        form = {"grant_type": "refresh_token", "refresh_token": family.refresh}
        answer, _, took = self.until_answered(
            lambda again: self.client("refresh" + again, "/token", family.refresh, **form)
        )
        if answer.status == 200:
            family.rotated.append(family.refresh)
            family.refresh = str(answer.document["refresh_token"])
            family.access.append(str(answer.document["access_token"]))
            self.ledger.keep(family.refresh, family.access[-1])
            return
        family.certain = False
        if took < self.world.grace:
            self.violate(f"I1: a live refresh token was answered {answer.status} {answer.document}")

    def revoke(self) -> None:
        """Revoke a family, or one access token."""
        family = self.pick()
        if family is None:
            return
        token = family.refresh if self.random.random() < 0.5 else family.access[-1]
        answer, _, _ = self.until_answered(
            lambda again: self.client("revoke" + again, "/revoke", token, token=token)
        )
        if answer.status != 200:
            family.certain = False
        elif token == family.refresh:
            family.alive = False
        else:
            family.revoked.append(family.access.pop())
            self.must_be("revoked", family.revoked[-1], False)
            if not family.access:
                self.rotate(family)

    def introspect(self) -> None:
        """Ask about a token whose state is certain."""
        certain = [family for family in self.families if family.certain and family.access]
        if certain:
            family = self.random.choice(certain)
            self.must_be("introspect", self.random.choice(family.access), family.alive)

    def must_be(self, op: str, token: str, active: bool) -> None:
        """Introspect a token that must be alive or dead."""
        answer = self.client(op, "/introspect", token, token=token)
        if answer.status == 200 and answer.document.get("active") is not active:
            self.violate(
                f"{'I1' if active else 'I2'}: {op}: active is {answer.document.get('active')}, not {active}"
            )

    def must_be_api_token(self, token: str, active: bool) -> None:
        """Ask a node about itself with an API token that must be alive or dead."""
        answer = self.ask(
            "check.api", "GET", "/api/v1/tokens/self", headers={"authorization": f"Bearer {token}"}
        )
        if answer.status in (200, 401) and (answer.status == 200) is not active:
            self.violate(f"{'I1' if active else 'I2'}: an API token is answered {answer.status}")

    def make_or_end_api_token(self) -> None:
        """Create an API token, or revoke one."""
        headers = {"authorization": f"Bearer {self.world.admin_token}"}
        alive = [id for id, (_, state) in self.api_tokens.items() if state]
        if alive and self.random.random() < 0.5:
            chosen = self.random.choice(alive)
            answer = self.ask(
                "token.revoke", "POST", f"/api/v1/tokens/{chosen}/revoke", headers=headers, json={}
            )
            state = False if answer.status == 200 else True if not answer.sent else None
            self.api_tokens[chosen] = (self.api_tokens[chosen][0], state)
        else:
            given = {"name": "made by a drill", "owner": "drill", "scope": "orders:read"}
            answer = self.ask("token.create", "POST", "/api/v1/tokens", headers=headers, json=given)
            if answer.status in (200, 201):
                self.api_tokens[str(answer.document["id"])] = (str(answer.document["token"]), True)
                self.ledger.keep(str(answer.document["token"]))

    def leave_and_return(self) -> None:
        """Sign out and in again."""
        if self.signed_in:
            self.sign_out()
        self.sign_in()

    def pick(self) -> Family | None:
        """Return a family that is certainly alive."""
        alive = [family for family in self.families if family.alive and family.certain]
        return self.random.choice(alive) if alive else None

    def step(self) -> None:
        """Do one thing, as often as the mix says."""
        actions = (
            (self.get_tokens, 40), (self.refresh, 30), (self.revoke, 10), (self.introspect, 13),
            (self.make_or_end_api_token, 5), (self.leave_and_return, 2),
        )  # fmt: skip
        chosen = self.random.choices([action for action, _ in actions], [weight for _, weight in actions])[0]
        chosen()


def hidden(page: str) -> dict[str, str]:
    """Return what the first form of a page that posts sends along."""
    forms = re.findall(r"<form[^>]*>.*?</form>", page, re.DOTALL)
    form = next((found for found in forms if 'method="post"' in found.lower()), "")
    fields = {}
    for tag in re.findall(r"<input[^>]*>", form):
        name, value = re.search(r'name="([^"]+)"', tag), re.search(r'value="([^"]*)"', tag)
        if name and value and ('type="hidden"' in tag or "checked" in tag):
            fields[name[1]] = html.unescape(value[1])
    return fields


class Load:
    """Walkers in threads of their own, until told to stop."""

    def __init__(self, world: World, ledger: Ledger, walkers: int, seed: int) -> None:
        self.world, self.ledger = world, ledger
        self.walkers: list[Walker] = []
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        for n in range(walkers):
            self.add(Walker(world, ledger, world.people[n % len(world.people)], seed * 1000 + n))

    def add(self, walker: Walker) -> None:
        """Add a walker before the load begins."""
        self.walkers.append(walker)
        self._threads.append(threading.Thread(target=self._walk, args=(walker,), daemon=True))

    def _walk(self, walker: Walker) -> None:
        while not self._stop.is_set():
            try:
                walker.step()
            except Exception as error:  # the drill must hear of it, whatever it is
                walker.violate(f"the load itself failed: {error!r}")
                return

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(PATIENCE + 20)
