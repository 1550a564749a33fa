"""A relying party as the suite's plan for the FAPI 2.0 Security Profile plays one: pushed requests, by a key or a certificate.

The plan's variants are how the client authenticates (`client_auth_type`), and what its tokens are bound to (`sender_constrain`). A
certificate is passed on as by a proxy.
"""

import base64
import hashlib
import secrets
from dataclasses import dataclass, field
from typing import Any, Literal

import httpx
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, RSAKey
from tests.fixtures import certificates
from tests.fixtures.certificates import Pair
from tests.interop.openid_provider import Provider, rsa_key
from tests.interop.relying_party import CALLBACK, Answer, Visitor

ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
Form = dict[str, str]
Variant = tuple[Literal["private_key_jwt", "mtls"], Literal["dpop", "mtls"]]
PLAIN: Variant = ("private_key_jwt", "dpop")


def new_key(kid: str) -> ECKey:
    """Return a key for ES256."""
    return ECKey.generate_key("P-256", {"kid": kid, "use": "sig", "alg": "ES256"})


@dataclass(slots=True)
class FapiParty:
    """A client of the profile with its key, a key to bind tokens to, and the person at a browser."""

    op: Provider
    client_id: str
    key: ECKey
    weak_key: RSAKey
    dpop: ECKey | RSAKey = field(default_factory=lambda: new_key("dpop"))
    verifier: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    variant: Variant = PLAIN
    certificate: Pair | None = None

    def another(self) -> "FapiParty":
        """Return another client of the same variant."""
        return fapi_party(self.op, self.variant)

    @property
    def issuer(self) -> str:
        """Return the issuer."""
        return self.op.live.issuer

    def now(self) -> int:
        """Return the server's time."""
        return int(self.op.live.clock())

    def request(self, **changes: str | None) -> Form:
        """Return the parameters of a request, changed; None leaves one out."""
        digest = hashlib.sha256(self.verifier.encode()).digest()
        parameters: dict[str, str | None] = {
            "client_id": self.client_id,
            "redirect_uri": CALLBACK,
            "response_type": "code",
            "scope": "openid email offline_access",
            "state": secrets.token_urlsafe(8),
            "nonce": secrets.token_urlsafe(8),
            "code_challenge": base64.urlsafe_b64encode(digest).rstrip(b"=").decode(),
            "code_challenge_method": "S256",
        } | changes
        return {name: value for name, value in parameters.items() if value is not None}

    def assertion(self, *, alg: str = "ES256", **claims: object) -> Form:
        """Return what authenticates the client, some claims changed; None leaves one out."""
        now = self.now()
        members: dict[str, object] = {
            "iss": self.client_id,
            "sub": self.client_id,
            "aud": self.issuer,
            "jti": secrets.token_urlsafe(12),
            "nbf": now,
            "iat": now,
            "exp": now + 60,
        } | claims
        key = self.key if alg == "ES256" else self.weak_key
        header = {"alg": alg, "kid": key.kid, "typ": "JWT"}
        told = {name: value for name, value in members.items() if value is not None}
        return {"client_assertion_type": ASSERTION, "client_assertion": jwt.encode(header, told, key)}

    def authentication(self, **claims: object) -> Form:
        """Return what a form has for the client's authentication; `claims` change an assertion."""
        if self.variant[0] == "private_key_jwt":
            return self.assertion(**claims)  # type: ignore[arg-type]  # claims of an assertion
        return {"client_id": str(claims.get("iss", self.client_id))}

    def shown(self, *, authenticates: bool, holds: bool) -> dict[str, str]:
        """Return the headers that show the certificate, where the client authenticates by it, or holds tokens by it."""
        by = (authenticates and self.variant[0] == "mtls") or (holds and self.variant[1] == "mtls")
        if not by or self.certificate is None:
            return {}
        return {"client-cert": self.certificate.pem.replace("\n", ""), "x-verified": "SUCCESS"}

    def proof(
        self,
        method: str,
        address: str,
        *,
        token: str | None = None,
        key: ECKey | None = None,
        alg: str | None = None,
        header: dict[str, Any] | None = None,
        **claims: object,
    ) -> str:
        """Sign a DPoP proof, some claims changed; None leaves one out."""
        with_key = key or self.dpop
        alg = alg or ("PS256" if isinstance(with_key, RSAKey) else "ES256")
        members: dict[str, object] = {
            "jti": secrets.token_urlsafe(12),
            "htm": method,
            "htu": address,
            "iat": self.now(),
            "ath": token and base64.urlsafe_b64encode(hashlib.sha256(token.encode()).digest()).rstrip(b"=").decode(),
        } | claims  # fmt: skip
        public = {
            name: value
            for name, value in with_key.as_dict(private=False).items()
            if name in ["kty", "crv", "x", "y", "n", "e"]
        }
        told = {name: value for name, value in members.items() if value is not None}
        protected = {"typ": "dpop+jwt", "alg": alg, "jwk": public} | (header or {})
        return jwt.encode(protected, told, with_key, algorithms=[alg])

    def signed(self, parameters: Form, *, key: Any = None, alg: str = "ES256", **claims: object) -> Form:
        """Return the parameters of a request as a request object, some claims changed; None leaves one out."""
        now = self.now()
        members: dict[str, object] = {
            "iss": self.client_id,
            "aud": self.issuer,
            "nbf": now,
            "iat": now,
            "exp": now + 300,
        }
        told = {name: value for name, value in (members | parameters | claims).items() if value is not None}
        with_key = key or (self.key if alg == "ES256" else self.weak_key)
        header = {
            "alg": alg,
            "typ": "oauth-authz-req+jwt",
            "kid": self.key.kid if alg == "ES256" else self.weak_key.kid,
        }
        made = jwt.encode(header, told, "" if alg == "none" else with_key, algorithms=[alg])
        return {"client_id": self.client_id, "request": made}

    def push(self, parameters: Form, *, proof: str | None = None, **claims: object) -> httpx.Response:
        """Push a request."""
        headers = {"dpop": proof} if proof else {}
        headers |= self.shown(authenticates=True, holds=False)
        form = parameters | self.authentication(**claims)
        return self.op.http.post(f"{self.issuer}/par", data=form, headers=headers)

    def pushed(self, parameters: Form, *, proof: str | None = None, **claims: object) -> str:
        """Push a request that is taken; return its `request_uri`."""
        answer = self.push(parameters, proof=proof, **claims)
        assert answer.status_code == 201, answer.text
        assert 0 < answer.json()["expires_in"] <= 600
        return str(answer.json()["request_uri"])

    def authorize(self, request_uri: str, browser: Visitor | None = None, **more: str) -> Answer:
        """Send the person with what was pushed; an answer names its issuer."""
        query = httpx.QueryParams({"client_id": self.client_id, "request_uri": request_uri} | more)
        answer = (browser or self.op.browser).go(f"{self.issuer}/authorize?{query}")
        assert answer.page is not None or answer.parameters["iss"] == self.issuer
        return answer

    def code(self, parameters: Form | None = None, *, proof: str | None = None) -> str:
        """Return the code of a request that is granted."""
        parameters = parameters or self.request()
        answer = self.authorize(self.pushed(parameters, proof=proof))
        assert answer.page is None, answer.page.text
        assert answer.parameters.get("state") == parameters.get("state")
        return answer.parameters["code"]

    def token(
        self, form: Form, *, proof: str | None = None, proofless: bool = False, **claims: object
    ) -> httpx.Response:
        """Call the token endpoint with the client's authentication and a proof."""
        address = f"{self.issuer}/token"
        bound = self.variant[1] == "mtls"
        headers = {} if proofless or bound else {"dpop": proof or self.proof("POST", address)}
        headers |= self.shown(authenticates=not (proofless and bound), holds=not proofless)
        return self.op.http.post(address, data=self.authentication(**claims) | form, headers=headers)

    def redeem(self, code: str, **more: str) -> httpx.Response:
        """Present a code."""
        return self.token(self.code_form(code) | more)

    def code_form(self, code: str) -> Form:
        """Return the form that presents a code."""
        return {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": CALLBACK,
            "code_verifier": self.verifier,
        }

    def tokens(self, parameters: Form | None = None) -> dict[str, Any]:
        """Walk the whole flow; return what the code bought, its ID token checked."""
        parameters = parameters or self.request()
        answer = self.redeem(self.code(parameters))
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        assert found["token_type"] == self.kind
        keys = KeySet.import_key_set(self.op.http.get(f"{self.issuer}/.well-known/jwks.json").json())
        claims = jwt.decode(found["id_token"], keys, algorithms=["ES256", "PS256", "EdDSA"]).claims
        assert claims.get("nonce") == parameters.get("nonce")
        assert (claims["iss"], claims["aud"]) == (self.issuer, self.client_id)
        return found | {"claims": claims}

    @property
    def kind(self) -> str:
        """Return the type of the tokens."""
        return "DPoP" if self.variant[1] == "dpop" else "Bearer"

    def resource(
        self, token: str, *, proof: str | None = None, scheme: str | None = None, proofless: bool = False
    ) -> httpx.Response:
        """Call a protected resource."""
        address = f"{self.issuer}/userinfo"
        shown = self.shown(authenticates=False, holds=not proofless)
        if self.variant[1] == "dpop" and not proofless:
            shown["dpop"] = proof or self.proof("GET", address, token=token)
        return self.op.http.get(address, headers={"authorization": f"{scheme or self.kind} {token}"} | shown)


def fapi_party(op: Provider, variant: Variant = PLAIN, **given: Any) -> FapiParty:
    """Register a client of the profile as the operator would."""
    authenticates, holds = variant
    certificate = None
    if "mtls" in variant:
        name = secrets.token_hex(8)
        certificate = certificates.make(op.folder, name)
        given["tls_client_certificate_bound_access_tokens"] = holds == "mtls"
        given["dpop_bound_access_tokens"] = holds == "dpop"
    if authenticates == "mtls":
        given["tls_client_auth_subject"] = ["subject_dn", f"CN={name}"]
    key, weak = new_key("k"), rsa_key("rs")
    registered = op.live.client(
        name="OIDF conformance",
        redirect_uris=[CALLBACK],
        grant_types=["authorization_code", "refresh_token"],
        token_endpoint_auth_method="tls_client_auth" if authenticates == "mtls" else authenticates,
        jwks={"keys": [key.as_dict(private=False), weak.as_dict(private=False)]},
        scope="openid profile email offline_access",
        security_profile="fapi2",
        **given,
    )
    return FapiParty(op, registered.client.client_id, key, weak, variant=variant, certificate=certificate)
