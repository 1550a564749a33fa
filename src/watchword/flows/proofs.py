"""RFC 9449 and RFC 8705: proof of possession at this server's endpoints, each proof once (DP-51), with our nonce where that is set.

A nonce is a time and its HMAC under a key that all nodes share: nobody stores it, and every node accepts those of the others (DP-50).
It changes every minute and is good for five, and every answer to a request with a proof carries the latest.
"""

import hashlib
from collections.abc import Collection

from watchword.flows.binding import UNBOUND, Binding
from watchword.flows.client_auth import Credentials
from watchword.flows.keyring import NONCE_KEY
from watchword.flows.runtime import Runtime
from watchword.jose.jwk import certificate_thumbprint
from watchword.oauth import dpop
from watchword.oauth.clients import FAPI_ALGORITHMS, Client
from watchword.oauth.dpop import DPoPProof
from watchword.oauth.errors import OAuthError
from watchword.store import tokens

REMEMBERED = 600  # seconds from a proof's `iat`: longer than any node accepts it, by whatever clock


async def prove(runtime: Runtime, client: Client, credentials: Credentials, path: str) -> Binding:
    """Check the proofs that came with a token request and return the thumbprints that they prove; raise as `check`."""
    if credentials.dpop is None and credentials.certificate is None:
        return UNBOUND
    x5t = certificate_thumbprint(credentials.certificate) if credentials.certificate is not None else None
    return Binding(await prove_key(runtime, credentials, path, algorithms_of(client)), x5t)


def algorithms_of(client: Client | None) -> Collection[str]:
    """Return the algorithms that may sign a client's proofs, wherever it sends them (FAPI 2.0 Security Profile §5.4.1)."""
    held = client is not None and client.security_profile == "fapi2"
    return FAPI_ALGORITHMS if held else dpop.ALGORITHMS


async def prove_key(
    runtime: Runtime, credentials: Credentials, path: str, algorithms: Collection[str] = dpop.ALGORITHMS
) -> str | None:
    """Check the DPoP proof of a request and return its key's thumbprint, None when there is no proof; raise as `check`."""
    if credentials.dpop is None:
        return None
    return (await check(runtime, credentials.dpop, credentials.method, path, algorithms=algorithms)).jkt


async def check(
    runtime: Runtime,
    proof: str,
    method: str,
    path: str,
    *,
    access_token: str | None = None,
    expected_jkt: str | None = None,
    algorithms: Collection[str] = dpop.ALGORITHMS,
) -> DPoPProof:
    """Check a proof for a path of this server and record it as used; raise `invalid_dpop_proof` or `use_dpop_nonce`."""
    settings = runtime.settings
    checked = dpop.check_proof(
        proof,
        method=method,
        uri=settings.issuer + path,
        alias=settings.mtls_address and settings.mtls_address + path,  # RFC 8705 §5
        now=runtime.now(),
        access_token=access_token,
        expected_jkt=expected_jkt,
        algorithms=algorithms,
        nonce_check=None if settings.dpop_nonce == "off" else lambda sent: _is_fresh(runtime, sent),
    )
    used = hashlib.sha256(f"dpop\n{checked.jkt}\n{checked.jti}".encode()).digest()
    earliest = checked.iat - dpop.LEEWAY
    # RFC 9449 §11.1
    if not await runtime.database.write(tokens.use_identifier, used, checked.iat + REMEMBERED, earliest):
        raise OAuthError("invalid_dpop_proof", "The DPoP proof was used before.")
    return checked


def nonce(runtime: Runtime) -> str:
    """Return the current nonce for proofs (RFC 9449 §8.2)."""
    return dpop.make_nonce(runtime.keyring.secret(NONCE_KEY), runtime.now())


def _is_fresh(runtime: Runtime, sent: str) -> bool:
    return dpop.is_fresh_nonce(runtime.keyring.secret(NONCE_KEY), sent, runtime.now())
