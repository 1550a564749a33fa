"""What a program presents to an API: the interface of every credential, the addresses that it may be sent to, and an API token.

Tokens that are fetched and renewed are in `source`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from watchword.client.addresses import Origin, origin_of
from watchword.client.errors import WrongAddress
from watchword.client.parts import check_key, check_part
from watchword.client.proofs import Clocks, Prover
from watchword.jose import jwk
from watchword.oauth.credential_text import check_token


class Source(Protocol):
    """A source of tokens for an API."""

    def check(self, address: str) -> None:
        """Raise WrongAddress when the credential does not belong at an address."""

    def is_ready(self) -> bool:
        """Whether `present` would return without waiting."""

    def present(self, method: str, address: str, since: float | None = None) -> dict[str, str]:
        """Return the headers that present a valid token with one request; raise ClientError.

        `since` is when the request began to wait, by `time.monotonic`: now, unless it waited elsewhere before.
        """

    def heard(self, address: str, status: int, headers: Mapping[str, str], sent: str) -> bool:
        """Learn from an answer; return whether to retry the request with fresh headers from `present`."""


class Destination:
    """The API that credentials are for: one origin, or several that belong together."""

    def __init__(self, api: str | Iterable[str]) -> None:
        if not isinstance(api, str):
            check_part("api", api, "__iter__", '"https://api.example.com"')
        given = (api,) if isinstance(api, str) else api
        self.origins: frozenset[Origin] = frozenset(origin_of(one, "api") for one in given)
        if not self.origins:
            raise ValueError("api: give the address of the API that tokens may be sent to")
        for _, host, _ in self.origins:
            if not host.isascii():  # requests go to the ASCII form, which would not match
                raise ValueError(f"api: write {host!r} as it is sent: in ASCII, with xn--")

    def check(self, address: str) -> None:
        """Raise WrongAddress for any other origin."""
        if origin_of(address) not in self.origins:
            raise WrongAddress(
                "this address does not belong to the API that the token is for; nothing was sent"
            )


@dataclass(slots=True)
class ApiToken:
    """An API token for one API. With `key`, the key that the token is bound to, each request carries a proof."""

    token: str = field(repr=False)
    api: str | Iterable[str]
    key: jwk.Key | None = field(default=None, repr=False)
    _destination: Destination = field(init=False, repr=False)
    _prover: Prover | None = field(init=False, default=None, repr=False)
    _clocks: Clocks = field(init=False, repr=False, default_factory=Clocks)

    def __post_init__(self) -> None:
        """Raise WrongAddress for an address that a token must not be sent to, and ValueError for what cannot be a token."""
        check_token("the token", self.token)
        if self.key is not None:
            check_key("key", self.key)
        self._destination = Destination(self.api)
        self._prover = Prover(self.key, self._clocks) if self.key else None

    def check(self, address: str) -> None:
        """Raise WrongAddress when the token does not belong at an address."""
        self._destination.check(address)

    def is_ready(self) -> bool:
        """Return True: nothing has to be fetched."""
        return True

    def present(self, method: str, address: str, since: float | None = None) -> dict[str, str]:
        """Return the headers of one request, with the token and its proof."""
        self.check(address)
        if self._prover is None:
            return {"authorization": f"Bearer {self.token}"}
        proof = self._prover.proof(method, address, self.token)
        return {"authorization": f"DPoP {self.token}", "dpop": proof}

    def heard(self, address: str, status: int, headers: Mapping[str, str], sent: str) -> bool:
        """Learn a nonce or a clock; a refused token cannot be renewed."""
        if self._prover is None or origin_of(address) not in self._destination.origins:
            return False
        fresh = self._prover.heard(origin_of(address), headers)
        return (self._clocks.heard(origin_of(address), headers) or fresh) and status == 401
