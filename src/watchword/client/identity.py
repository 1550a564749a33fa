"""RFC 6749 §2.3, RFC 7523 §2.2: who the client is, and how it proves that at the token endpoint."""

import base64
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, Protocol
from urllib.parse import quote_plus

from watchword.client.parts import check_key
from watchword.jose import jwt
from watchword.jose.jwk import Key
from watchword.oauth.credential_text import check_credential

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
ASSERTION_LIFETIME = 60


@dataclass(frozen=True, slots=True)
class Asked:
    """The request that a client is to authenticate.

    `issuer` is the server's, `now` the time there in Unix seconds, `jkt` the RFC 7638 thumbprint of the key that the token will be bound
    to, if it will be. `challenge` gets a challenge of the server for a purpose, for a proof that answers one.
    """

    issuer: str
    now: int
    jkt: str | None
    challenge: Callable[[str], object]


class Identity(Protocol):
    """A client and its proof."""

    @property
    def client_id(self) -> str:
        """The client's identifier."""

    def prove(self, form: dict[str, str], headers: dict[str, str], asked: Asked) -> None:
        """Add the proof to a request; raise ValueError where there can be none."""


@dataclass(frozen=True, slots=True)
class ClientSecret:
    """A client that authenticates with a secret, in the header (`basic`, the default) or in the form (`post`)."""

    client_id: str
    secret: str = field(repr=False)
    method: Literal["basic", "post"] = "basic"

    def __post_init__(self) -> None:
        """Raise ValueError for credentials that no server can have issued."""
        check_credential("client_id", self.client_id)
        check_credential("the client's secret", self.secret)
        if self.method not in ("basic", "post"):
            raise ValueError(f'method: "basic" or "post", not {self.method!r}')

    def prove(self, form: dict[str, str], headers: dict[str, str], asked: Asked) -> None:
        """Add the secret."""
        if self.method == "post":
            form |= {"client_id": self.client_id, "client_secret": self.secret}
            return
        pair = f"{quote_plus(self.client_id)}:{quote_plus(self.secret)}"  # §2.3.1: form-encoded first
        headers["authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()


@dataclass(frozen=True, slots=True)
class PrivateKey:
    """A client that authenticates by signing an assertion with its private key (`private_key_jwt`)."""

    client_id: str
    key: Key = field(repr=False)

    def __post_init__(self) -> None:
        """Raise ValueError for what cannot sign."""
        check_key("key", self.key)

    def prove(self, form: dict[str, str], headers: dict[str, str], asked: Asked) -> None:
        """Add a fresh assertion for this issuer alone."""
        claims: dict[str, object] = {
            "iss": self.client_id,
            "sub": self.client_id,
            "aud": asked.issuer,
            "jti": os.urandom(16).hex(),
            "iat": asked.now,
            "exp": asked.now + ASSERTION_LIFETIME,
        }
        form |= {
            "client_id": self.client_id,
            "client_assertion_type": ASSERTION_TYPE,
            "client_assertion": jwt.encode(self.key, claims),
        }


@dataclass(frozen=True, slots=True)
class PublicClient:
    """A public client, which cannot keep a secret (RFC 6749 §2.1)."""

    client_id: str

    def prove(self, form: dict[str, str], headers: dict[str, str], asked: Asked) -> None:
        """Name the client."""
        form["client_id"] = self.client_id
