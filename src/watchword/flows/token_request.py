"""RFC 6749 §3.2: a token request as the grants see it: which client asks, for what, and what it has proved."""

import msgspec

from watchword.flows.binding import Binding
from watchword.oauth.clients import Client
from watchword.oauth.parameters import Parameters
from watchword.presence import HasLeft, unknown


class TokenRequest(msgspec.Struct, frozen=True):
    """A request of an authenticated client; `has_left` tells whether the client has given up waiting for the answer."""

    client: Client
    form: Parameters
    binding: Binding
    has_left: HasLeft = unknown

    def confirmation(self) -> dict[str, object]:
        """Return the `cnf` claim of the access token, as `Binding.confirmation`."""
        return self.binding.confirmation(self.client)
