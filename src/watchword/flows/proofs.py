"""RFC 9449 and RFC 8705: checking what a request proves possession of, once (DP-51)."""

import hashlib
from collections.abc import Collection

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
    algorithms = FAPI_ALGORITHMS if client.security_profile == "fapi2" else tuple(ALGORITHMS)
    return Binding(await prove_key(runtime, credentials, path, algorithms), x5t)


async def prove_key(
    runtime: Runtime, credentials: Credentials, path: str, algorithms: Collection[str] = tuple(ALGORITHMS)
) -> str | None:
    """Check the DPoP proof of a request, use it up, and return its key's thumbprint; None when there is no proof."""
    if credentials.dpop is None:
        return None
    proof = dpop.check_proof(
        credentials.dpop,
        method=credentials.method,
        uri=runtime.settings.issuer + path,
        algorithms=algorithms,
        now=runtime.now(),
    )
    used = hashlib.sha256(f"dpop\n{proof.jkt}\n{proof.jti}".encode()).digest()
    if not await runtime.database.write(tokens.use_identifier, used, proof.iat + 600):  # RFC 9449 §11.1
        raise OAuthError("invalid_dpop_proof", "The DPoP proof was used before.")
    return proof.jkt
