"""Rate limits, by address, of requests that make the server store something for an unauthenticated caller.

An authorization request without a session, one that a public client pushes, a device code and a sign-in at another provider are rows
until they are answered or expire. Requests of people who are signed in, of clients that authenticate, and those that store nothing are
not counted. Each process counts for itself: this has to stop a flood, not to be exact.
"""

from watchword.flows.runtime import Runtime
from watchword.flows.throttle import network
from watchword.oauth.clients import Client
from watchword.oauth.errors import OAuthError
from watchword.ratelimit import Limit


def admit(runtime: Runtime, what: str, address: str) -> None:
    """Count one request of a kind from an address; raise `too_many_requests` when there were too many."""
    per_minute = runtime.settings.anonymous_per_minute
    if wait := runtime.take(
        Limit("anonymous requests", per_minute, per_minute / 60), f"{what} {network(address)}"
    ):
        raise OAuthError("too_many_requests", "Too many requests from this address.", retry_after=wait)


def admit_client(runtime: Runtime, client: Client, what: str, address: str) -> None:
    """Count a request as `admit` does when its client is public, so that anybody could have sent it."""
    if client.is_public:
        admit(runtime, what, address)
