"""Requests that anybody may have kept here without proving anything, counted by address.

An authorization request of somebody who is not signed in, one that a public client pushes, a device code and a sign-in at a provider
are rows until they are answered or run out. Who is signed in and clients that authenticate are not counted, and what keeps nothing is
not either. The count is each process's own: it has to stop a flood, not to be exact.
"""

from watchword.flows.runtime import Runtime
from watchword.flows.throttle import network
from watchword.oauth.clients import Client
from watchword.oauth.errors import OAuthError


def admit(runtime: Runtime, what: str, address: str) -> None:
    """Take one request of a kind from an address; raise `too_many_requests` when it has had too many."""
    if wait := runtime.anonymous.take(f"{what} {network(address)}", runtime.clock()):
        raise OAuthError("too_many_requests", "Too many requests from this address.", retry_after=wait)


def admit_client(runtime: Runtime, client: Client, what: str, address: str) -> None:
    """Count a request of a client as `admit` does, when anybody could have sent it in that client's name."""
    if client.is_public:
        admit(runtime, what, address)
