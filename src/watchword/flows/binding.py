"""What a token request proved besides the client's identity: possession of a key (RFC 9449) or of a certificate (RFC 8705)."""

import msgspec

from watchword.oauth.clients import Client
from watchword.oauth.errors import OAuthError


class Binding(msgspec.Struct, frozen=True):
    """The thumbprints that a token can be bound to; None where nothing was proven."""

    jkt: str | None = None
    x5t: str | None = None

    def confirmation(self, client: Client) -> dict[str, object]:
        """Return the `cnf` claim for a client's access token, empty when there is nothing to bind it to.

        Raises `invalid_dpop_proof` or `invalid_request` when the client is registered for a binding that the request does not prove.
        """
        if client.dpop_bound_access_tokens and self.jkt is None:  # RFC 9449 §5.2
            raise OAuthError("invalid_dpop_proof", "This client must send a DPoP proof.")
        if client.tls_client_certificate_bound_access_tokens and self.x5t is None:  # RFC 8705 §3.4
            raise OAuthError("invalid_request", "This client must present its certificate.")
        cnf: dict[str, object] = {}
        if self.jkt is not None:
            cnf["jkt"] = self.jkt
        if self.x5t is not None and client.tls_client_certificate_bound_access_tokens:
            cnf["x5t#S256"] = self.x5t
        return {"cnf": cnf} if cnf else {}


UNBOUND = Binding()
