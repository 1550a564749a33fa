"""A relying party as the OpenID Foundation's suite plays one: it follows redirects, fills in plain forms, checks every answer.

It owns no opinion on what a module of the suite is about: that is in the tables of the tests. Tokens are checked by joserfc, which
shares nothing with the server's own signatures.
"""

import base64
import hashlib
import re
import secrets
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit

import httpx
from joserfc import jwt
from joserfc.jwk import KeySet, RSAKey
from tests.fixtures.browser import Browser, form_of

from watchword.testing.clock import Clock

CALLBACK = "https://rp.example.com/cb"
Parameters = dict[str, str]


@dataclass(frozen=True, slots=True)
class Answer:
    """How an authorization request ended: parameters sent to the relying party, or a page of the server's."""

    parameters: Parameters
    target: str = ""
    method: str = ""
    page: httpx.Response | None = None


class Visitor(Browser):
    """A person's browser that also takes note of the pages it was shown, and posts forms that lead outside."""

    def __init__(self, *given: Any, **more: Any) -> None:
        super().__init__(*given, **more)
        self.shown: list[str] = []

    def go(self, address: str, body: Parameters | None = None) -> Answer:
        """Send an authorization request and do what its pages ask for, to the end."""
        answer = self.http.get(address) if body is None else self.http.post(address, data=body)
        for _ in range(12):
            if answer.is_redirect:
                target = urljoin(str(answer.url), answer.headers["location"])
                if not target.startswith(self.issuer + "/"):
                    return Answer(dict(parse_qsl(urlsplit(target).query)), target.partition("?")[0], "GET")
                answer = self.http.get(target)
                continue
            self.shown.append(answer.url.path)
            form = form_of(answer.text)
            if answer.status_code != 200 or form is None:
                return Answer({}, page=answer)
            if form.target.startswith("https://") and not form.target.startswith(self.issuer + "/"):
                return Answer(form.hidden, form.target, "POST")
            answer = self.submit(answer)
        raise AssertionError(f"no end in sight at {answer.url}")

    def forget(self) -> None:
        """Forget every cookie, as the suite asks its operator to."""
        self.http.cookies.clear()


@dataclass(slots=True)
class RelyingParty:
    """A client that registered itself, or was given its credentials, and a person at a browser."""

    issuer: str
    http: httpx.Client
    browser: Visitor
    client: dict[str, Any]
    clock: Clock
    key: RSAKey | None = None
    response_mode: str | None = None
    other: "RelyingParty | None" = None
    scope: str = "openid"
    server: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        self.server = self.http.get(f"{self.issuer}/.well-known/openid-configuration").json()

    def request(self, **changes: str | None) -> Parameters:
        """Return the parameters that every module begins with, changed; None leaves one out. No PKCE, as in the suite."""
        parameters: dict[str, str | None] = {
            "client_id": self.client["client_id"],
            "redirect_uri": self.client["redirect_uris"][0],
            "scope": self.scope,
            "state": secrets.token_urlsafe(8),
            "nonce": secrets.token_urlsafe(8),
            "response_type": "code",
            "response_mode": self.response_mode,
        } | changes
        return {name: value for name, value in parameters.items() if value is not None}

    def pkce(self) -> tuple[str, str]:
        """Return a code verifier and its challenge."""
        verifier = secrets.token_urlsafe(32)
        digest = hashlib.sha256(verifier.encode()).digest()
        return verifier, base64.urlsafe_b64encode(digest).rstrip(b"=").decode()

    def ask(self, parameters: Parameters, *, post: bool = False) -> Answer:
        """Send an authorization request; hold an answer to what every answer must be."""
        endpoint = self.server["authorization_endpoint"]
        answer = (
            self.browser.go(endpoint, parameters)
            if post
            else self.browser.go(f"{endpoint}?{urlencode(parameters)}")
        )
        if answer.page is None:
            assert answer.target == parameters["redirect_uri"].partition("?")[0]
            assert answer.parameters.get("state") == parameters.get("state")
            assert answer.parameters["iss"] == self.issuer
            expected = "POST" if parameters.get("response_mode") == "form_post" else "GET"
            assert answer.method == expected
        return answer

    def code(self, parameters: Parameters, *, post: bool = False) -> str:
        """Return the code of a request that is granted."""
        answer = self.ask(parameters, post=post)
        assert answer.page is None, answer.page.text
        assert "error" not in answer.parameters, answer.parameters
        code = answer.parameters["code"]
        assert len(code) >= 22, "RFC 6749 §10.10: 128 bits at least"
        return code

    def error(self, parameters: Parameters, *codes: str) -> None:
        """Demand that a request is refused with one of the codes, without anything else in the answer."""
        answer = self.ask(parameters)
        assert answer.page is None, answer.page.text
        assert answer.parameters["error"] in codes
        assert answer.parameters.keys() <= {"error", "error_description", "state", "iss"}
        assert re.fullmatch(r"[\x20-\x21\x23-\x5b\x5d-\x7e]*", answer.parameters["error_description"])

    def page(self, parameters: Parameters) -> str:
        """Demand that a request ends at a page of the server's that explains; return its text."""
        answer = self.ask(parameters)
        assert answer.page is not None, answer
        assert answer.page.status_code == 400
        return answer.page.text

    def token(self, **form: str) -> httpx.Response:
        """Call the token endpoint by the method that the client is registered for."""
        return self.authenticated(self.server["token_endpoint"], form)

    def authenticated(self, endpoint: str, form: Parameters, **claims: Any) -> httpx.Response:
        """Send a form with the client's authentication; `claims` change a client assertion."""
        method, client_id = self.client["token_endpoint_auth_method"], self.client["client_id"]
        if method == "client_secret_basic":
            return self.http.post(endpoint, data=form, auth=(client_id, self.client["client_secret"]))
        if method == "client_secret_post":
            proof = {"client_id": client_id, "client_secret": self.client["client_secret"]}
        elif method == "private_key_jwt":
            proof = {
                "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
                "client_assertion": self.assertion(**claims),
            }
        else:
            proof = {"client_id": client_id}
        return self.http.post(endpoint, data=form | proof)

    def assertion(self, **claims: Any) -> str:
        """Sign a client assertion for the issuer; the suite's default, the token endpoint, is refused by intention."""
        assert self.key is not None
        now = self.now()
        members = {
            "iss": self.client["client_id"],
            "sub": self.client["client_id"],
            "aud": self.issuer,
            "jti": secrets.token_urlsafe(12),
            "iat": now,
            "exp": now + 60,
        } | claims
        header = {"alg": "RS256", "kid": self.key.kid} if self.key.kid else {"alg": "RS256"}
        return jwt.encode(header, members, self.key)

    def now(self) -> int:
        """Return the server's time."""
        return int(self.clock())

    def redeem(self, code: str, **more: str) -> dict[str, Any]:
        """Redeem a code that is good; return the tokens."""
        answer = self.try_code(code, **more)
        assert answer.status_code == 200, answer.text
        assert "no-store" in answer.headers["cache-control"]
        tokens: dict[str, Any] = answer.json()
        assert tokens["token_type"].lower() == "bearer"
        assert tokens["expires_in"] > 0
        return tokens

    def try_code(self, code: str, **more: str) -> httpx.Response:
        """Present a code."""
        given = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self.client["redirect_uris"][0],
        }
        return self.token(**given | more)

    def claims(self, tokens: dict[str, Any], parameters: Parameters, alg: str = "RS256") -> dict[str, Any]:
        """Hold an ID token to OpenID Connect Core §3.1.3.7; return its claims."""
        keys = KeySet.import_key_set(self.http.get(self.server["jwks_uri"]).json())
        read = jwt.decode(tokens["id_token"], keys, algorithms=[alg])
        assert read.header["kid"], "§10.1"
        claims = dict(read.claims)
        audience = claims["aud"]
        now = self.now()
        assert claims["iss"] == self.issuer
        assert self.client["client_id"] in ([audience] if isinstance(audience, str) else audience)
        assert claims["iat"] <= now < claims["exp"]
        assert claims.get("nonce") == parameters.get("nonce")
        assert 0 < len(claims["sub"]) <= 255
        half = hashlib.sha256(tokens["access_token"].encode()).digest()[:16]
        assert claims["at_hash"] == base64.urlsafe_b64encode(half).rstrip(b"=").decode()
        return claims

    def sign_in(self, **changes: str | None) -> tuple[dict[str, Any], dict[str, Any]]:
        """Walk the whole flow; return the tokens and the ID token's claims."""
        parameters = self.request(**changes)
        tokens = self.redeem(self.code(parameters))
        return tokens, self.claims(tokens, parameters)

    def unregister(self) -> int:
        """Delete the registration, as the suite does after every module."""
        headers = {"authorization": f"Bearer {self.client['registration_access_token']}"}
        return self.http.delete(self.client["registration_client_uri"], headers=headers).status_code

    def userinfo(self, tokens: dict[str, Any], method: str = "GET") -> dict[str, Any]:
        """Ask who the person is."""
        headers = {"authorization": f"Bearer {tokens['access_token']}"}
        answer = self.http.request(method, self.server["userinfo_endpoint"], headers=headers)
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"].startswith("application/json")
        found: dict[str, Any] = answer.json()
        return found
