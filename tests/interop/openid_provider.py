"""A provider for the suite's modules: the real server over TLS in this process, so that waiting is moving its clock."""

import json
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import httpx
from joserfc.jwk import RSAKey
from tests.fixtures import certificates
from tests.fixtures.certificates import Pair
from tests.fixtures.live import Live
from tests.fixtures.loopback import LoopbackServer
from tests.fixtures.servers import free_port
from tests.interop.relying_party import CALLBACK, RelyingParty, Visitor

from watchword.app import App
from watchword.flows import logout_delivery
from watchword.flows.users import people
from watchword.settings import Settings
from watchword.testing.clock import Clock
from watchword.testing.worker import Worker

SCOPES = ("openid", "profile", "email", "address", "phone", "offline_access")


class Documents:
    """What a relying party publishes: JSON by path; and the forms that were posted to it."""

    def __init__(self) -> None:
        self.published: dict[str, tuple[str, bytes]] = {}
        self.received: dict[str, list[dict[str, str]]] = {}
        self.base = ""

    def publish(self, path: str, document: object) -> str:
        """Publish JSON, or the text of a JWT; return the address."""
        is_text = isinstance(document, str)
        body = document.encode() if isinstance(document, str) else json.dumps(document).encode()
        self.published[path] = ("application/oauth-authz-req+jwt" if is_text else "application/json", body)
        return self.base + path

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        kind, body = self.published.get(scope["path"], ("text/plain", b""))
        if is_form := scope["method"] == "POST":
            form = dict(parse_qsl((await receive())["body"].decode()))
            self.received.setdefault(scope["path"], []).append(form)
        headers = [(b"content-type", kind.encode()), (b"cache-control", b"no-store")]
        status = 200 if body or is_form else 404
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})


@cache
def rsa_key(kid: str = "") -> RSAKey:
    """Return the same key each time, for what is not about keys: to make one takes longer than most modules."""
    return RSAKey.generate_key(2048, {"kid": kid, "use": "sig"} if kid else None)


@dataclass(slots=True)
class Provider:
    """The server as the suite's operator would configure it, one person in it, and the browser of that person."""

    live: Live
    http: httpx.Client
    browser: Visitor
    documents: Documents
    tls: ssl.SSLContext
    folder: Path

    def deliver(self) -> None:
        """Have the server tell its clients who was signed out, as its jobs do."""
        self.live.run(logout_delivery.deliver_due(self.live.runtime))

    def register(self, **metadata: Any) -> httpx.Response:
        """Send a registration as the suite does."""
        given = {
            "client_name": "OIDF conformance",
            "grant_types": ["authorization_code"],
            "response_types": ["code"],
            "redirect_uris": [CALLBACK],
            "contacts": ["certification@oidf.org"],
            "token_endpoint_auth_method": "client_secret_basic",
        }
        return self.http.post(f"{self.live.issuer}/register", json=given | metadata)

    def relying_party(self, *, response_mode: str | None = None, **metadata: Any) -> RelyingParty:
        """Return a client that registered itself with a key of its own, as the suite does."""
        key = metadata.pop("key", None) or rsa_key()
        if "jwks_uri" not in metadata:
            metadata.setdefault(
                "jwks", {"keys": [key.as_dict(private=False) | {"use": "sig", "alg": "RS256"}]}
            )
        answer = self.register(**metadata)
        assert answer.status_code == 201, answer.text
        assert answer.headers["content-type"].startswith("application/json")
        return RelyingParty(
            self.live.issuer, self.http, self.browser, answer.json(), self.live.clock, key, response_mode
        )  # fmt: skip


@contextmanager
def provider(folder: Path, authority: Pair, worker: Worker, **options: Any) -> Iterator[Provider]:
    """Serve until the block ends."""
    own = certificates.make(folder, "provider", issuer=authority, names=certificates.LOCALHOST)
    given: dict[str, Any] = {
        "issuer": f"https://localhost:{(port := free_port())}",
        "database": str(folder / "watchword.db"),
        "tls_cert": str(own.path),
        "tls_key": str(own.path),
        "jobs": False,
        "fetch_allow_loopback": True,
        "signing_algorithms": ("ES256", "EdDSA", "RS256"),
        "registration": "open",
        "registrations_per_hour": 100_000,
        "self_registered_scopes": SCOPES,
        "self_registered_pkce": False,
    }
    app = App(Settings(**given | options), clock := Clock(), durable=False)
    trusts = certificates.trusting(authority)
    with (
        LoopbackServer(app, port=port, tls=certificates.serving(own)),
        LoopbackServer(documents := Documents()) as published,  # type: ignore[arg-type]  # plain ASGI
        httpx.Client(verify=trusts) as http,
    ):
        live = Live(app, clock, worker)
        documents.base = f"http://localhost:{published.port}"
        who = people.Changes(display_name="Ada Lovelace", email="ada@example.com", email_verified=True)
        live.run(people.change(live.runtime, live.user("ada"), who, actor="test"))
        yield Provider(live, http, Visitor(live.issuer, tls=trusts), documents, trusts, folder)
