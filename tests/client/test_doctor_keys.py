"""What the doctor finds among the keys of an issuer, by whatever name its metadata announces their algorithms."""

import httpx
import pytest

from watchword.client.doctor.findings import Report
from watchword.client.doctor.keys import check_keys
from watchword.client.doctor.web import Web
from watchword.jose import jwk

ISSUER = "https://auth.example.com"


@pytest.mark.parametrize(
    ("alg", "stated", "announced"),
    [
        ("ES256", "ES256", "ES256"),
        ("EdDSA", "EdDSA", "Ed25519"),
        ("EdDSA", "Ed25519", "EdDSA"),
        ("EdDSA", None, "Ed25519"),
        ("RS256", None, "PS512"),
    ],
)
def test_a_key_is_for_an_algorithm_by_each_of_its_names(alg: str, stated: str | None, announced: str) -> None:
    """RFC 9864; a key of RSA without `alg` is for each of RSA's (RFC 7517 section 4.4)."""
    key = {**jwk.public_document(jwk.generate(alg)), "alg": stated}
    published = {"keys": [{name: value for name, value in key.items() if value}]}
    answers = httpx.MockTransport(lambda _: httpx.Response(200, json=published))
    metadata = {
        "issuer": ISSUER,
        "jwks_uri": f"{ISSUER}/keys",
        "id_token_signing_alg_values_supported": ["ES512", announced],
    }
    report = Report(ISSUER)
    check_keys(metadata, Web(httpx.Client(transport=answers)), report)
    (finding,) = [found for found in report.findings if found.level != "ok"]
    assert finding.message.endswith("without a key: ES512")
