"""The values of the testing kit: tokens and sessions that can be put into a request at once."""

import hashlib
import os
from collections.abc import Callable

from watchword.jose import jwk, jwt
from watchword.jose.jwk import Key
from watchword.store.sessions import Session


class Token(str):
    """A token as text; `headers` presents it as a bearer token, `proof` one that is bound to a key."""

    id: str
    key: Key | None
    _clock: Callable[[], float]

    @classmethod
    def make(cls, value: str, identifier: str, key: Key | None, clock: Callable[[], float]) -> "Token":
        """Make a token from its text, its identifier, and the key that it is bound to, if any."""
        token = cls(value)
        token.id, token.key, token._clock = identifier, key, clock
        return token

    @property
    def headers(self) -> dict[str, str]:
        """Return the header that presents the token as a bearer token (RFC 6750 §2.1)."""
        return {"authorization": f"Bearer {self}"}

    def proof(self, method: str, uri: str) -> dict[str, str]:
        """Return the headers that present a bound token with a fresh proof (RFC 9449 §7.1); raise ValueError for one without a key."""
        if self.key is None:
            raise ValueError("this token is not bound to a key: create it with auth.token(…, dpop=True)")
        claims: dict[str, object] = {
            "jti": os.urandom(12).hex(),
            "htm": method,
            "htu": uri.partition("?")[0].partition("#")[0],
            "iat": int(self._clock()),
            "ath": jwk.b64encode(hashlib.sha256(self.encode()).digest()),
        }
        proof = jwt.encode_with_key(self.key, claims, "dpop+jwt")
        return {"authorization": f"DPoP {self}", "dpop": proof}


class SignedIn:
    """A session of a person, as a browser brings it."""

    def __init__(self, session: Session, name: str, value: str) -> None:
        self.id = session.id
        self.user_id = session.user_id
        self.cookies = {name: value}

    @property
    def headers(self) -> dict[str, str]:
        """Return the header that presents the session."""
        return {"cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items())}
