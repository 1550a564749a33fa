"""Requests as clients make them: no redirect followed, answers limited in size and time, no exception raised.

Whoever runs this names one server, and that one names all others: from outside it must not lead into the network that this runs in.
"""

import socket
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeGuard
from urllib.parse import urljoin, urlsplit

import httpx

from watchword.client.deadline import FRESH, Deadline
from watchword.fetch import FetchError, check_address
from watchword.http_clients import ACCEPTED, is_readable, unusable_environment_as
from watchword.jose.strict_json import StrictJSONError, loads
from watchword.networks import is_loopback

TIMEOUT = 10.0  # seconds without a byte
PATIENCE = 20.0  # seconds until a whole answer has come
MAX_ANSWER = 512 * 1024
DIRECT = {"http://": None, "https://": None}  # through no proxy of the environment
ORIGIN = "https://client.example.com"
INSIDE = "not asked: a server outside names an address of a network inside"
Document = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Seen:
    """The answer of an address, or why there was none, with a `status` of 0."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    document: Document | None = None
    problem: str = ""
    address: str = ""

    @property
    def is_redirect(self) -> bool:
        """Whether the answer leads elsewhere."""
        return self.status in (301, 302, 303, 307, 308)

    @property
    def location(self) -> str:
        """Where it leads, as a whole URL, even where the answer names only a path (RFC 9110 §10.2.2)."""
        named = self.headers.get("location", "")
        try:
            return urljoin(self.address, named) if named else ""
        except ValueError:
            return named

    @property
    def media_type(self) -> str:
        """What the answer says that it is, without parameters (RFC 9110 §8.3.1)."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    def said(self) -> str:
        """Return the answer in words."""
        if not self.status:
            return f"no answer ({self.problem})"
        return f"{self.status} to {self.location}" if self.is_redirect else str(self.status)

    def said_of_metadata(self) -> str:
        """Return in words what was answered instead of a document."""
        read = self.status == 200 and self.document is None
        return "200 without a JSON object" if read else self.said()


def line_for(seen: Seen, address: str, otherwise: str) -> str:
    """Return what to change when an address did not answer properly: about its certificate if clients refuse that, about the address if it
    was not asked, else `otherwise`."""
    parts = urlsplit(address)
    if seen.problem == INSIDE:
        return f"name an address that clients outside reach; or, for those inside: watchword doctor {parts.scheme}://{parts.netloc}"
    if "CERTIFICATE_VERIFY_FAILED" not in seen.problem:
        return otherwise
    host = parts.hostname
    for said, line in (
        ("has expired", f"renew the certificate of {host}, and have the server or its proxy load it"),
        (
            "not yet valid",
            f"a certificate of {host} that is valid already; or correct this clock: timedatectl set-ntp true",
        ),
        ("mismatch", f"a certificate that names {host}; or give clients the name that it has"),
    ):
        if said in seen.problem:
            return line
    return "the whole chain in --tls-cert (fullchain.pem); of an authority of your own, in the client: SSL_CERT_FILE=ca.pem"


def addresses_of(host: str) -> Collection[str]:
    """Return the addresses of a name, none where it has none."""
    try:
        return {str(found[4][0]) for found in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
    except (OSError, UnicodeError):
        return ()


class Web:
    """Sends requests, and remembers the answer to each; the host that is asked first decides whether hosts inside a network are asked."""

    def __init__(
        self,
        http: httpx.Client | None = None,
        patience: float = PATIENCE,
        resolve: Callable[[str], Collection[str]] = addresses_of,
    ) -> None:
        self._http = http or _client()
        self._here = http or _client(DIRECT)  # for this machine, which a proxy cannot reach
        self._patience = patience
        self._known: dict[str, Seen] = {}
        self._resolve = resolve
        self._first = ""
        self._inside: dict[str, bool] = {}

    def get(self, address: str) -> Seen:
        """Return the answer to a GET as a script of another origin sends it."""
        if address not in self._known:
            headers = {"accept": "application/json", "origin": ORIGIN}
            self._known[address] = self.ask("GET", address, headers=headers)
        return self._known[address]

    def ask(
        self,
        method: str,
        address: str,
        *,
        form: Mapping[str, str] | None = None,
        json: object = None,
        headers: Mapping[str, str] | None = None,
    ) -> Seen:
        """Return the answer to a request."""
        if not is_address(address):
            return Seen(0, problem="not a web address")
        host = urlsplit(address).hostname or ""
        if not self._may_ask(host):
            return Seen(0, problem=INSIDE)
        http = self._here if is_name_of_here(host) else self._http
        deadline = Deadline(self._patience)
        sent: dict[str, Any] = {"data": form, "json": json, "headers": headers, **deadline.sent}
        try:
            way = _Way(httpx.URL(address), deadline, partial(self._may_stay, host))
            sent["extensions"] = {"trace": way.trace}
            with deadline, http.stream(method, address, **sent) as answer:
                if not is_readable(answer.headers):
                    return Seen(0, problem="the answer is compressed in a way that nobody asked for")
                body = b""
                if "text/event-stream" not in answer.headers.get("content-type", ""):
                    for part in answer.iter_bytes():
                        body += part
                        if len(body) > MAX_ANSWER:
                            return Seen(0, problem="the answer is too long")
                deadline.check()
                return Seen(answer.status_code, answer.headers, _document(body), address=address)
        except _LedInside:
            return Seen(0, problem=INSIDE)
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError, OSError) as error:
            if deadline.passed:
                return Seen(0, problem=f"the answer had not ended after {self._patience:.0f} seconds")
            return Seen(0, problem=f"{type(error).__name__} {error}".strip()[:200])

    def _may_ask(self, host: str) -> bool:
        self._first = self._first or host
        return host == self._first or not self._is_inside(host) or self._is_inside(self._first)

    def _is_inside(self, host: str) -> bool:
        if host not in self._inside:
            self._inside[host] = is_name_of_here(host) or not all(map(_is_outside, self._resolve(host)))
        return self._inside[host]

    def _may_stay(self, host: str, address: str) -> bool:
        """Whether to send anything to the address that a host was connected at: by now it may have another than when it was looked up (DNS
        rebinding). Whether the first host is inside is known from its connection."""
        is_inside = not _is_outside(address)
        if host == self._first:
            self._inside.setdefault(host, is_inside)
        return not is_inside or self._is_inside(self._first)


class _LedInside(Exception):
    """A connection was made to an address inside, and closed before anything was sent."""


class _Way:
    """Follows a request as its deadline does, and raises _LedInside when its host is connected at an address where it may not stay."""

    def __init__(self, asked: httpx.URL, deadline: Deadline, may_stay: Callable[[str], bool]) -> None:
        self._host = asked.raw_host.decode("ascii")
        self._deadline = deadline
        self._may_stay = may_stay
        self._is_direct = True

    def trace(self, event: str, info: Mapping[str, Any]) -> None:
        self._deadline.trace(event, info)
        if event.endswith(".connect_tcp.started"):
            self._is_direct = info["host"] == self._host  # otherwise to a proxy, which may be inside
        elif event.endswith(".connect_tcp.complete") and self._is_direct:
            made = info["return_value"]
            if not self._may_stay(made.get_extra_info("server_addr")[0]):
                made.close()
                raise _LedInside


def _is_outside(address: str) -> bool:
    try:
        check_address(address, allow_loopback=False)
    except FetchError:
        return False
    return True


def _client(mounts: Mapping[str, None] | None = None) -> httpx.Client:
    with unusable_environment_as(ValueError):
        return httpx.Client(
            timeout=TIMEOUT, limits=FRESH, follow_redirects=False, headers=ACCEPTED, mounts=mounts
        )


def _document(body: bytes) -> Document | None:
    try:
        found = loads(body)
    except StrictJSONError:
        return None
    return found if isinstance(found, dict) else None


def is_address(text: object) -> TypeGuard[str]:
    """Whether a text is a web address that a client could use."""
    if not isinstance(text, str) or not text.isascii() or any(character <= " " for character in text):
        return False
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def is_name_of_here(host: str) -> bool:
    """Whether a host is this machine, by any of its names (RFC 6761 §6.3)."""
    return is_loopback(host) or f".{host.rstrip('.')}".endswith(".localhost")


def is_exposed(address: str) -> bool:
    """Whether an address is plain http to another machine."""
    parts = urlsplit(address)
    return parts.scheme == "http" and not is_loopback(parts.hostname or "")


def is_open(seen: Seen) -> bool:
    """Whether a script of another origin may read an answer."""
    return seen.headers.get("access-control-allow-origin") in ("*", ORIGIN)


def well_known(issuer: str) -> dict[str, str]:
    """Return where clients look for an issuer's metadata, by the rule that says so, in the order of MCP clients."""
    parts = urlsplit(issuer)
    origin, path = f"{parts.scheme}://{parts.netloc}", parts.path.rstrip("/")
    return {
        "RFC 8414": f"{origin}/.well-known/oauth-authorization-server{path}",
        **({"OpenID, path inserted": f"{origin}/.well-known/openid-configuration{path}"} if path else {}),
        "OpenID": f"{origin}{path}/.well-known/openid-configuration",
    }


def described(metadata: str) -> str:
    """Return the issuer or resource that a well-known address belongs to (RFC 8414 §3, RFC 9728 §3)."""
    before, _, name = metadata.partition("/.well-known/")
    return before + "".join(name.partition("?")[0].partition("/")[1:])
