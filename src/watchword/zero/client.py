"""docs/zero.md §12: a client of `watchword.client` that authenticates with a zero-knowledge identity (`zero_proof`).

source = TokenSource("https://auth.example.com", ZeroProof("client_…", "agent-17.zero", passphrase="…"),
                     ClientCredentials("orders:read"), api="https://api.example.com", dpop=True)
"""

import json
import os
from typing import Protocol

from watchword.credentials.zkproof import ZeroError
from watchword.zero import agent as agents
from watchword.zero import files
from watchword.zero.agent import Order
from watchword.zero.proof import dpop_channel
from watchword.zero.records import Challenge, Proof, Secret, from_json, to_json
from watchword.zero.sealing import unseal

CLIENT_ASSERTION_TYPE = "urn:watchword:params:oauth:client-assertion-type:zero-proof"
PURPOSE = "client"


class Asked(Protocol):
    """What is asked of a client at the token endpoint, as `watchword.client.identity.Asked` has it."""

    @property
    def issuer(self) -> str:
        """The issuer that the request goes to."""

    @property
    def jkt(self) -> str | None:
        """The thumbprint of the key that the token will be bound to."""

    def challenge(self, purpose: str) -> object:
        """Get a challenge for a purpose."""


class Holder:
    """Who answers challenges: an opened secret, or the agent at a socket, which holds one or several."""

    __slots__ = ("_agent", "_derive_for", "_identity", "_secret")

    def __init__(
        self,
        secret: Secret | None,
        agent: str | None = None,
        identity: str | None = None,
        derive_for: str | None = None,
    ) -> None:
        """Take the secret, or the agent's socket and the short name of one of its identities."""
        self._secret = secret
        self._agent = agent
        self._identity = identity
        self._derive_for = derive_for

    def prove(self, challenge: Challenge, channel: bytes) -> Proof:
        """Answer a fresh challenge over a channel; raise ZeroError. An agent dates the proof by its own clock."""
        order = Order(challenge, channel, (), self._derive_for)
        if self._secret is not None:
            # Dated by the server, which also judges the date: the clock here may be wrong
            return agents.fulfil(self._secret, order, challenge.issued, os.urandom(32))
        return agents.ask_proof(self._agent or "", order, self._identity)


class ZeroProof:
    """A client that proves who it is with a zero-knowledge identity; its tokens are bound to a key (`dpop=True`).

    - `client_id`: a client that authenticates by `zero_proof` and to which the identity is registered.
    - `secret` and `passphrase`: the file of the identity's secret, and what opens it; or
    - `agent`: the socket of `watchword zero agent`, which keeps the secret; `identity` names one of several that it holds.
    - `derive_for`: the purpose of the identity that is derived from this one for the server and registered there.

    Raises ValueError for both a file and an agent, or neither, and ZeroError for a file that cannot be opened.
    """

    needs_dpop = True

    def __init__(
        self,
        client_id: str,
        secret: str | os.PathLike[str] | None = None,
        *,
        passphrase: str | None = None,
        agent: str | os.PathLike[str] | None = None,
        identity: str | None = None,
        derive_for: str | None = None,
    ) -> None:
        if (secret is None) == (agent is None):
            raise ValueError("give the file of the identity's secret, or the socket of an agent")
        if (passphrase is None) != (secret is None):
            raise ValueError("passphrase: opens the file of a secret, so give both or neither")
        if identity is not None and agent is None:
            raise ValueError("identity: names one of those that an agent holds, so give the agent's socket")
        self.client_id = client_id
        self._holder = Holder(
            None if secret is None else _opened(os.fspath(secret), passphrase or ""),
            None if agent is None else os.fspath(agent),
            identity,
            derive_for,
        )

    def __repr__(self) -> str:
        """Name the client, and nothing of its secret."""
        return f"ZeroProof({self.client_id!r})"

    def prove(self, form: dict[str, str], headers: dict[str, str], asked: Asked) -> None:
        """Answer a fresh challenge of the issuer, over the key that the token will be bound to; raise ZeroError."""
        if asked.jkt is None:
            raise ZeroError("channel", "a proof is bound to the key of a DPoP proof, and there is none")
        challenge = from_json(asked.challenge(PURPOSE), Challenge)
        if (challenge.verifier, challenge.purpose) != (asked.issuer, PURPOSE):
            raise ZeroError(
                "verifier", f"the challenge comes from {challenge.verifier}, for {challenge.purpose}"
            )
        proof = self._holder.prove(challenge, dpop_channel(asked.jkt))
        form |= {
            "client_id": self.client_id,
            "client_assertion_type": CLIENT_ASSERTION_TYPE,
            "client_assertion": json.dumps(to_json(proof)),
        }


def _opened(path: str, passphrase: str) -> Secret:
    sealed = files.read_sealed(path)
    with files.named(path):
        return unseal(sealed, passphrase)
