"""`watchword demo`: the whole story on a throw-away database, against a real server and a real protected API.

Each line is a request and what came back. The first thing that differs from the story ends it with exit code 1.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import uvicorn
from rich.console import Console
from rich.markup import escape

from watchword.demo.api import make_api

PATIENCE = 15.0

out = Console(highlight=False, soft_wrap=True)


class Differs(Exception):
    """An answer differs from what the story says."""


class Story:
    """The running demonstration: its servers' addresses, its administrator's token, its HTTP client."""

    def __init__(self, folder: Path, issuer: str, api: str) -> None:
        self.folder = folder
        self.issuer = issuer
        self.api = api
        self.http = httpx.Client(timeout=10, trust_env=False)  # all is on this machine, where no proxy leads
        self.admin = ""
        self.token = ""
        self.token_id = ""
        self.narrowed = ""

    def chapter(self, title: str) -> None:
        """Print a heading."""
        out.print(f"\n[bold cyan]{title}[/]")

    def command(self, *arguments: str) -> dict[str, object]:
        """Run a command of the command line with --json and return its document."""
        shown = " ".join(f"'{argument}'" if " " in argument else argument for argument in arguments)
        out.print(f"  [dim]$[/] watchword {escape(shown)}")
        done = subprocess.run(
            [sys.executable, "-m", "watchword", *arguments, "--json"],
            cwd=self.folder,
            env=_environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise Differs(f"exit code {done.returncode}: {done.stdout}{done.stderr}")
        document: dict[str, object] = json.loads(done.stdout)
        return document

    def request(
        self,
        method: str,
        url: str,
        *,
        expect: int,
        token: str | None = None,
        auth: tuple[str, str] | None = None,
        form: dict[str, str] | None = None,
        body: object = None,
        note: str = "",
    ) -> dict[str, object]:
        """Send a request, print it and its answer, and return the answer's document."""
        headers = {"authorization": f"Bearer {token}"} if token else {}
        answer = self.http.request(
            method, url, headers=headers, auth=auth or httpx.USE_CLIENT_DEFAULT, data=form, json=body
        )
        self._print(method, url, token or (auth[1] if auth else ""), answer, note)
        if answer.status_code != expect:
            raise Differs(f"expected {expect}, got {answer.status_code}: {answer.text[:300]}")
        document: dict[str, object] = answer.json() if answer.content else {}
        return document

    def _print(self, method: str, url: str, secret: str, answer: httpx.Response, note: str) -> None:
        colour = "green" if answer.status_code < 400 else "yellow"
        shown = f" [dim]with {escape(secret[:4])}…{escape(secret[-4:])}[/]" if secret else ""
        path = url.removeprefix(self.api).removeprefix(self.issuer)
        out.print(f"  [bold]{method}[/] {path}{shown} → [{colour}]{answer.status_code}[/] {escape(note)}")
        if challenge := answer.headers.get("www-authenticate"):
            out.print(f"       [dim]WWW-Authenticate: {escape(challenge)}[/]")

    def until_refused(self, token: str) -> float:
        """Call the API until the token is refused; return the seconds that took."""
        started = time.monotonic()
        while time.monotonic() - started < PATIENCE:
            answer = self.http.get(f"{self.api}/orders", headers={"authorization": f"Bearer {token}"})
            if answer.status_code == 401:
                return time.monotonic() - started
            time.sleep(0.02)
        raise Differs("the API still accepts a token that was revoked")


def tell(*, keep: bool = False, as_json: bool = False) -> int:
    """Tell the story, on standard error with `as_json`, which leaves standard output to the document; return the exit code."""
    if as_json:
        out.file = sys.stderr
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="watchword-demo-")))
        issuer, api = f"http://localhost:{_free_port()}", f"http://127.0.0.1:{_free_port()}"
        story = Story(folder, issuer, api)
        try:
            stack.enter_context(_server(folder, issuer))
            stack.enter_context(_api(api, issuer))
            for chapter in CHAPTERS:
                chapter(story)
        except (Differs, httpx.HTTPError) as error:
            out.print(f"\n[bold red]The story went wrong:[/] {escape(str(error))}")
            if as_json:
                _document({"as_told": False, "reason": str(error)})
            return 1
        out.print("\n[bold green]Everything went as the story says.[/]")
        if as_json:
            _document({"as_told": True, "issuer": issuer, "api": api, "admin_token": story.admin})
        if keep:
            _stay(story)
    return 0


def _document(document: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(document) + "\n")
    sys.stdout.flush()


def _stay(story: Story) -> None:
    out.print(f"\nStill running: server {story.issuer}, API {story.api}/docs, data in {story.folder}")
    out.print(f"A token of the administrator: {story.admin}")
    out.print("Stop with Ctrl-C.")
    with contextlib.suppress(KeyboardInterrupt):
        signal.pause()


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WATCHWORD_")}
    return kept | {"WATCHWORD_LOG_LEVEL": "error"}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def _server(folder: Path, issuer: str) -> Iterator[None]:
    port = issuer.rpartition(":")[2]
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "watchword", "serve", "--port", port],
            cwd=folder,
            env=_environment(),
            stderr=log,
        )
        try:
            _wait(f"{issuer}/readyz")
            yield
        finally:
            process.terminate()
            process.wait(timeout=30)


@contextlib.contextmanager
def _api(api: str, issuer: str) -> Iterator[None]:
    port = int(api.rpartition(":")[2])
    server = uvicorn.Server(uvicorn.Config(make_api(issuer), host="127.0.0.1", port=port, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        _wait(f"{api}/openapi.json")
        yield
    finally:
        server.should_exit = True
        thread.join(timeout=10)


def _wait(url: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(url, trust_env=False).status_code == 200:
                return
        time.sleep(0.02)
    raise Differs(f"{url} did not answer within {PATIENCE:.0f} seconds")


def _expect(what: str, found: object, wanted: object) -> None:
    if found != wanted:
        raise Differs(f"{what}: expected {wanted!r}, got {found!r}")


def _make(story: Story) -> None:
    story.chapter("1. A token is created")
    made = story.command(
        "token", "create", "demo admin", "--owner", "operations", "--scope", "watchword:admin"
    )
    story.admin = str(made["token"])
    made = story.command(
        "token", "create", "report job", "--owner", "reports", "--scope", "orders:read orders:write"
    )
    story.token, story.token_id = str(made["token"]), str(made["id"])
    out.print(f"  [green]{story.token}[/]  [dim]shown only once; only its hash is stored[/]")


def _use(story: Story) -> None:
    story.chapter("2. The API accepts it, and refuses what it should")
    orders = f"{story.api}/orders"
    story.request("GET", orders, expect=200, token=story.token, note="accepted")
    story.request("POST", orders, expect=201, token=story.token, note="accepted")
    reader = story.command("token", "create", "reader", "--owner", "reports", "--scope", "orders:read")
    story.request(
        "POST",
        orders,
        expect=403,
        token=str(reader["token"]),
        note="wrong scope; the answer names every scope that is needed",
    )
    garbled = story.token[:-1] + ("0" if story.token[-1] != "0" else "1")
    story.request(
        "GET",
        orders,
        expect=401,
        token=garbled,
        note="garbled: refused by its checksum, without asking the server",
    )
    story.request("GET", orders, expect=401, note="no token at all")


def _narrow(story: Story) -> None:
    story.chapter("3. The holder derives a narrower token")
    body = {"name": "five minutes", "scope": "orders:read", "expires_in": 300}
    url = f"{story.issuer}/api/v1/tokens/self/narrow"
    narrowed = story.request(
        "POST", url, expect=201, token=story.token, body=body, note="reads only, for five minutes"
    )
    story.narrowed = str(narrowed["token"])
    story.request("GET", f"{story.api}/orders", expect=200, token=story.narrowed, note="accepted")
    story.request("POST", f"{story.api}/orders", expect=403, token=story.narrowed, note="nothing was gained")
    wider = {"scope": "orders:read orders:write"}
    story.request(
        "POST", url, expect=403, token=story.narrowed, body=wider, note="it cannot be widened again"
    )


def _rotate(story: Story) -> None:
    story.chapter("4. Rotation with overlap")
    rotated = story.command("token", "rotate", story.token_id, "--overlap", "1h")
    new = str(rotated["token"])
    story.request(
        "GET",
        f"{story.api}/orders",
        expect=200,
        token=story.token,
        note="the old secret keeps working for an hour",
    )
    story.request("GET", f"{story.api}/orders", expect=200, token=new, note="so does the new one")
    time.sleep(1.2)  # counters are written once a second
    shown = story.request(
        "GET", f"{story.issuer}/api/v1/tokens/{story.token_id}", expect=200, token=story.admin
    )
    secrets = shown["secrets"]
    for secret in secrets if isinstance(secrets, list) else []:
        used = time.strftime("%H:%M:%S", time.gmtime(secret["last_used_at"]))
        out.print(f"       [dim]…{secret['hint']} last used {used} from {secret['last_address']}[/]")
    story.token = new


def _revoke(story: Story) -> None:
    story.chapter("5. It leaked: one step, and everything derived from it is dead")
    story.command("token", "revoke", story.token_id, "--compromised")
    out.print(f"  the API refuses it after {story.until_refused(story.token):.2f} seconds")
    story.request("GET", f"{story.api}/orders", expect=401, token=story.token, note="revoked")
    out.print(f"  and the narrowed one after {story.until_refused(story.narrowed):.2f} seconds more")
    why = story.request(
        "POST",
        f"{story.issuer}/api/v1/tokens/verify",
        expect=200,
        token=story.admin,
        body={"token": story.token},
        note="the operator learns why",
    )
    _expect("reason", why["reason"], "revoked")


def _client(story: Story) -> None:
    story.chapter("6. OAuth: client credentials")
    made = story.command("client", "create", "billing", "--scope", "orders:read")
    auth = (str(made["client_id"]), str(made["client_secret"]))
    form = {"grant_type": "client_credentials"}
    granted = story.request(
        "POST", f"{story.issuer}/token", expect=200, auth=auth, form=form, note="a JWT, signed with ES256"
    )
    access_token = str(granted["access_token"])
    story.request(
        "GET", f"{story.api}/orders", expect=200, token=access_token, note="verified by the API itself"
    )
    story.request("POST", f"{story.api}/orders", expect=403, token=access_token, note="wrong scope")
    wrong = (auth[0], auth[1][:-1])
    story.request("POST", f"{story.issuer}/token", expect=401, auth=wrong, form=form, note="wrong secret")
    story.request(
        "POST", f"{story.issuer}/revoke", expect=200, auth=auth, form={"token": access_token}, note="revoked"
    )
    gone = story.request(
        "POST", f"{story.issuer}/introspect", expect=200, auth=auth, form={"token": access_token}
    )
    _expect("introspection", gone, {"active": False})


def _audit(story: Story) -> None:
    story.chapter("7. The audit trail")
    trail = story.command("audit", "--limit", "100")
    events = trail["events"]
    for event in events if isinstance(events, list) else []:
        out.print(
            f"  [dim]{time.strftime('%H:%M:%S', time.gmtime(event['at']))}[/] {event['name']:24} {event['target']}"
        )
    report = story.command("audit", "--verify")
    _expect("audit trail", report["sound"], True)
    out.print(f"  {report['events']} events in {report['chains']} hash chains: [green]sound[/]")


CHAPTERS = (_make, _use, _narrow, _rotate, _revoke, _client, _audit)
