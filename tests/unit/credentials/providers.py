"""A provider to sign in with, its discovery document, and why an answer is refused."""

import json
from typing import Any

import pytest

from watchword.credentials import upstream_discovery
from watchword.credentials.upstream import UpstreamRefused

ISSUER = "https://login.example.com"


CALLBACK = "https://auth.example.org/upstream/example/callback"


METADATA: dict[str, object] = {
    "issuer": ISSUER,
    "authorization_endpoint": f"{ISSUER}/authorize",
    "token_endpoint": f"{ISSUER}/token",
    "jwks_uri": f"{ISSUER}/jwks",
    "userinfo_endpoint": f"{ISSUER}/userinfo",
    "id_token_signing_alg_values_supported": ["HS256", "none", "ES256", "RS256"],
    "authorization_response_iss_parameter_supported": True,
}


PROVIDER = upstream_discovery.check_discovery(json.dumps(METADATA).encode(), issuer=ISSUER, client_id="us")


def reason(call: Any) -> str:
    with pytest.raises(UpstreamRefused) as caught:
        call()
    return caught.value.reason
