"""RFC 9864: a signature that names its curve is the signature that it was under the older name."""

import pytest

from watchword.jose import JoseError, jwk, jws, strict_json
from watchword.jose.jwk import b64encode


def signed(key: jwk.Key, alg: str) -> str:
    """Return a token whose header names an algorithm."""
    data = f"{b64encode(strict_json.encode({'alg': alg}))}.{b64encode(b'payload')}"
    return f"{data}.{b64encode(jws.ALGORITHMS['EdDSA'].sign(key, data.encode()))}"


@pytest.mark.parametrize("stated", ["EdDSA", "Ed25519", None])
@pytest.mark.parametrize("named", ["EdDSA", "Ed25519"])
def test_both_names_mean_one_algorithm(named: str, stated: str | None) -> None:
    private = jwk.generate("EdDSA")
    document = {**jwk.public_document(private), "alg": stated}
    key = jwk.parse({name: value for name, value in document.items() if value})
    header, payload = jws.verify(signed(private, named), [key], ["EdDSA"])
    assert (header.alg, payload) == ("EdDSA", b"payload")
    assert [found.alg for found in jwk.parse_set({"keys": [document]})] == ["EdDSA"]


def test_the_newer_name_opens_nothing_that_was_closed() -> None:
    private = jwk.generate("EdDSA")
    with pytest.raises(JoseError, match="algorithm"):
        jws.verify(signed(private, "Ed25519"), [private], ["ES256"])
    with pytest.raises(JoseError, match="algorithm"):
        jwk.parse({**jwk.public_document(jwk.generate("ES256")), "alg": "Ed25519"})
    for other in ("Ed448", "ed25519", "ESP256"):
        with pytest.raises(JoseError, match="algorithm"):
            jws.verify(signed(private, other), [private], ["EdDSA", other])
