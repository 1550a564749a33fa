"""RFC 9449 and RFC 8705: checking what a request proves possession of, once (DP-51)."""

import hashlib

from watchword.flows.binding import UNBOUND, Binding
from watchword.flows.client_auth import Credentials
from watchword.flows.runtime import Runtime
from watchword.jose.jwk import certificate_thumbprint
from watchword.jose.jws import ALGORITHMS
from watchword.oauth import dpop
from watchword.oauth.clients import FAPI_ALGORITHMS, Client
from watchword.oauth.errors import OAuthError
from watchword.store import tokens


async def prove(runtime: Runtime, client: Client, credentials: Credentials, path: str) -> Binding:
    """Check the proofs that came with a token request and return what they bind to."""
    if credentials.dpop is None and credentials.certificate is None:
        return UNBOUND
    x5t = certificate_thumbprint(credentials.certificate) if credentials.certificate is not None else None
    if credentials.dpop is None:
        return Binding(None, x5t)
    proof = dpop.check_proof(
        credentials.dpop,
        method=credentials.method,
        uri=runtime.settings.issuer + path,
        algorithms=FAPI_ALGORITHMS if client.security_profile == "fapi2" else tuple(ALGORITHMS),
        now=runtime.now(),
    )
    used = hashlib.sha256(f"dpop\n{proof.jkt}\n{proof.jti}".encode()).digest()
    if not await runtime.database.write(tokens.use_identifier, used, proof.iat + 600):  # RFC 9449 §11.1
        raise OAuthError("invalid_dpop_proof", "The DPoP proof was used before.")
    return Binding(proof.jkt, x5t)
