"""The authorization server as a client sees it: its metadata (RFC 8414), requests to its endpoints, and strictly checked answers.

No redirect is followed, answers have a size limit, and nothing is sent over plain http to another machine.
"""

import os
import platform
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import httpx

from watchword import __version__
from watchword.client.addresses import origin_of
from watchword.client.deadline import FRESH, Deadline
from watchword.client.errors import AnswerLost, Refused, Unreachable, WrongAddress
from watchword.client.identity import Asked, Identity
from watchword.client.proofs import Clocks, Prover
from watchword.http_clients import ACCEPTED, is_readable, unusable_environment_as
from watchword.jose.strict_json import StrictJSONError, loads

# Seconds without a byte: fewer than the grace period (10 by default) in which a server repeats the successor of a refresh token.
TIMEOUT = 8.0
PATIENCE = 30.0  # seconds for a whole answer, for which every caller that needs a token may be waiting
MAX_ANSWER = 256 * 1024
LONGEST_NUMBER = 20  # digits
FOR_EVER = 1e10  # seconds, about three hundred years
LONGEST_PAUSE = 60.0  # seconds that a busy server is left alone when it names more
# UnicodeError is raised for a host name that cannot exist.
NO_ANSWER = (httpx.HTTPError, httpx.InvalidURL, UnicodeError)
LOST = (httpx.NetworkError, httpx.ReadTimeout, httpx.WriteTimeout, httpx.RemoteProtocolError)
LOST_BY_GATEWAYS = (502, 504)  # RFC 9110 §15.6.3, §15.6.5
# Shown to the person who is asked to authorize a device (RFC 8628).
NAME = f"watchword/{__version__} ({platform.system()})"
Form = Mapping[str, str]
Document = Mapping[str, object]


class AuthorizationServer:
    """One issuer; `http` is a client to use instead of our own, as tests do."""

    def __init__(self, issuer: str, clocks: Clocks, http: httpx.Client | None = None) -> None:
        origin_of(issuer, "the issuer")
        if "/.well-known/" in issuer:
            raise WrongAddress(
                "the issuer is the identifier in its metadata, not the address of the metadata"
            )
        self.issuer = issuer
        self._clocks = clocks
        self._given = http
        self._own: dict[int, httpx.Client] = {}
        self._metadata: Document | None = None

    def _http(self) -> httpx.Client:
        # One for each process: a forked child that used its parent's connections would read the parent's answers.
        if self._given is not None:
            return self._given
        own = self._own.get(os.getpid())
        if own is None:
            # Plain http is for this machine only, and never goes through a proxy of the environment, which would see tokens and secrets.
            with unusable_environment_as(Unreachable):
                fresh = httpx.Client(
                    timeout=TIMEOUT,
                    limits=FRESH,
                    follow_redirects=False,
                    headers={"user-agent": NAME},
                    mounts={"http://": None},
                )
            own = self._own.setdefault(os.getpid(), fresh)
        return own

    def metadata(self) -> Document:
        """Return the metadata, fetched once; raise Unreachable."""
        if self._metadata is None:
            parts = urlsplit(self.issuer)
            inserted = f"{parts.scheme}://{parts.netloc}/.well-known/oauth-authorization-server{parts.path}"
            appended = f"{self.issuer.rstrip('/')}/.well-known/openid-configuration"  # Discovery §4
            found = self._first(inserted.rstrip("/"), appended)
            named = found.get("issuer")
            if named != self.issuer:  # RFC 8414 §3.3
                raise Unreachable(
                    f"the metadata of {self.issuer!r} names another issuer, {str(named)[:200]!r}: both must be the same, also in a slash at the end"
                )
            self._metadata = found
        return self._metadata

    def _first(self, *addresses: str) -> Document:
        failed: Exception = Unreachable(f"{self.issuer} publishes no metadata")
        for address in addresses:
            status, headers, document = self._send("GET", address)
            if status == 200 and document is not None:
                return document
            if status == 429 or status >= 500:
                failed = _refusal(status, headers, document)
        raise failed

    def endpoint(self, name: str) -> str:
        """Return the address of an endpoint by its name in the metadata; raise Unreachable when there is none."""
        address = self.metadata().get(name)
        if not isinstance(address, str) or not address.isprintable():
            raise Unreachable(f"{self.issuer} has no {name}")
        origin_of(address, name)
        return address

    def ask(self, name: str, form: Form, identity: Identity, prover: Prover | None = None) -> Document:
        """Send a form to an endpoint as a client and return its answer; raise Refused or Unreachable."""
        address = self.endpoint(name)
        origin = origin_of(address)
        for last in (False, True):
            headers: dict[str, str] = {}
            sent = dict(form)
            self._authenticate(identity, sent, headers, self._clocks.at(origin), prover)
            if prover is not None:
                headers["dpop"] = prover.proof("POST", address)
            status, answered, document = self._send("POST", address, headers, data=sent)
            fresh_nonce = prover is not None and prover.heard(origin, answered)
            fresh_clock = self._clocks.heard(origin, answered)
            if status in (200, 201):  # RFC 9126 §2.2: a pushed request is created
                return document or {}
            code = document.get("error") if document else None
            # RFC 9449 §8: retry once, with the nonce that was sent, or where only the clocks differed.
            again = (code == "use_dpop_nonce" and fresh_nonce) or (
                code in ("invalid_client", "invalid_dpop_proof") and fresh_clock
            )
            if last or not again:
                raise _refusal(status, answered, document)
        raise AssertionError("unreachable")

    def _authenticate(
        self,
        identity: Identity,
        form: dict[str, str],
        headers: dict[str, str],
        now: int,
        prover: Prover | None,
    ) -> None:
        asked = Asked(self.issuer, now, prover.key.thumbprint if prover else None, self._challenge)
        try:
            identity.prove(form, headers, asked)
        except ValueError as error:
            raise Unreachable(f"the client cannot prove who it is: {error}") from None

    def _challenge(self, purpose: str) -> Document:
        """Get a challenge for a zero-knowledge proof (docs/zero.md §12)."""
        address = f"{self.issuer}/zero/challenge"
        status, answered, document = self._send("POST", address, json={"purpose": purpose})
        if status != 200:
            raise _refusal(status, answered, document)
        return document or {}

    def _send(
        self, method: str, address: str, headers: Mapping[str, str] | None = None, **content: Any
    ) -> tuple[int, Mapping[str, str], Document | None]:
        end, deadline = self._clocks() + PATIENCE, Deadline(PATIENCE)
        # A client that the program supplied may follow redirects, send credentials of its own, or ask for what is not read here.
        asked = {**ACCEPTED, **(headers or {})}
        sent: dict[str, Any] = {"headers": asked, "auth": None, "follow_redirects": False, **content}
        try:
            with deadline, self._http().stream(method, address, **sent, **deadline.sent) as answer:
                if not is_readable(answer.headers):
                    raise Unreachable(
                        f"the answer of {self.issuer} is compressed in a way that nobody asked for"
                    )
                body = b""
                for part in answer.iter_bytes():
                    body += part
                    if self._clocks() > end:
                        # A complete answer is used all the same: the machine may have slept, or its clock may have been set.
                        if (document := _document(body)) is None:
                            raise Unreachable(f"the answer of {self.issuer} takes too long")
                        return answer.status_code, answer.headers, document
                    if len(body) > MAX_ANSWER:
                        raise Unreachable(f"the answer of {self.issuer} is too long")
                if (document := _document(body)) is None:
                    deadline.check()
                return answer.status_code, answer.headers, document
        except httpx.ConnectError as error:  # worded by this machine, unlike those below
            parts = urlsplit(address)
            raise Unreachable(f"no connection to {parts.scheme}://{parts.netloc}: {error}") from None
        except NO_ANSWER as error:
            if deadline.passed:
                raise Unreachable(f"the answer of {self.issuer} takes too long") from None
            kind = AnswerLost if isinstance(error, LOST) else Unreachable
            raise kind(f"{self.issuer} did not answer ({type(error).__name__})") from None


def seconds(given: object) -> float | None:
    """Return the seconds that an answer names, as a number or, as some servers write it, a string of digits; None for anything else."""
    if isinstance(given, str) and given.isascii() and given.isdigit() and len(given) < LONGEST_NUMBER:
        given = int(given)
    if isinstance(given, bool) or not isinstance(given, int | float):
        return None
    return min(float(given), FOR_EVER)


def _document(body: bytes) -> Document | None:
    try:
        document = loads(body)
    except StrictJSONError:
        return None
    return document if isinstance(document, dict) else None


def _refusal(status: int, headers: Mapping[str, str], document: Document | None) -> Exception:
    code = document.get("error") if document else None
    # A refusal because of too many requests says nothing about the credentials (RFC 6585 §4): it may work later.
    if not isinstance(code, str) or status == 429 or status >= 500:
        pause = seconds(headers.get("retry-after")) or 0.0  # RFC 9110 §10.2.3; a date counts as none
        kind = AnswerLost if status in LOST_BY_GATEWAYS and not pause else Unreachable
        return kind(f"the authorization server answered {status}", min(pause, LONGEST_PAUSE))
    described = document.get("error_description") if document else None
    return Refused(code, described if isinstance(described, str) else "")
