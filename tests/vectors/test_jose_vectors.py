"""Signatures against vectors that nobody here made: Wycheproof, RFC 7520, and the example of RFC 8037."""

import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import load_der_public_key

from watchword.jose import JoseError, jwk, jws
from watchword.jose.jwk import Key
from watchword.oauth import request_object
from watchword.oauth.errors import OAuthError


def load(vectors: Path, *names: str) -> dict[str, Any]:
    """Return a file of vectors."""
    document: dict[str, Any] = json.loads(vectors.joinpath(*names).read_text("utf-8"))
    return document


def verifies(token: str, key: Key) -> bool:
    """Whether a key verifies a token."""
    try:
        jws.verify(token, [key], list(jws.ALGORITHMS))
    except JoseError:
        return False
    return True


def test_wycheproof_jws(vectors: Path) -> None:
    checked, wrong = 0, []
    for group in load(vectors, "wycheproof", "json_web_signature_test.json")["testGroups"]:
        public = group.get("public")
        try:
            key = jwk.parse(public) if public else None
        except JoseError:
            key = None  # a key that is refused verifies nothing
        for case in group["tests"]:
            if not isinstance(case["jws"], str):
                continue  # the JSON serialisation does not exist here
            accepted = key is not None and verifies(case["jws"], key)
            checked += 1
            if accepted and case["result"] == "invalid":
                wrong.append(("accepted", case["tcId"], case["comment"]))
            if (
                not accepted
                and case["result"] == "valid"
                and key is not None
                and key.kid == public.get("kid")
            ):
                wrong.append(("refused", case["tcId"], case["comment"]))
    assert checked > 200
    assert not [entry for entry in wrong if entry[0] == "accepted"], wrong
    assert len(wrong) <= 3, wrong


PRIVATE = ("d", "p", "q", "dp", "dq", "qi")


def test_wycheproof_keys(vectors: Path) -> None:
    for group in load(vectors, "wycheproof", "json_web_key_test.json")["testGroups"]:
        given = group.get("public") or group["private"]
        listed = given.get("keys", [given])
        public = [{name: key[name] for name in key if name not in PRIVATE} for key in listed]
        is_symmetric = any(key["kty"] == "oct" for key in public)
        for case in group["tests"]:
            try:
                keys = jwk.parse_set({"keys": public})
                accepted = any(verifies(case["jws"], key) for key in keys)
            except JoseError:
                accepted = False
            wanted = case["result"] == "valid" and not is_symmetric  # symmetric keys do not exist here
            assert accepted == wanted, (case["tcId"], case["comment"])


def test_wycheproof_encrypted_tokens_are_refused_as_requests_unopened(vectors: Path) -> None:
    checked = 0
    for group in load(vectors, "wycheproof", "json_web_encryption_test.json")["testGroups"]:
        for case in group["tests"]:
            with pytest.raises(OAuthError, match="invalid_request_object"):
                request_object.check_form(case["jwe"], tuple(jws.ALGORITHMS))
            checked += 1
    assert checked > 100


@pytest.mark.parametrize(
    ("name", "algorithm"),
    [("ecdsa_secp256r1_sha256_p1363_test.json", "ES256"), ("ed25519_test.json", "EdDSA")],
)
def test_wycheproof_signatures(vectors: Path, name: str, algorithm: str) -> None:
    checked = 0
    for group in load(vectors, "wycheproof", name)["testGroups"]:
        public: Any = load_der_public_key(bytes.fromhex(group["publicKeyDer"]))
        key = Key(None, algorithm, "", public, None, "")
        for case in group["tests"]:
            try:
                jws.ALGORITHMS[algorithm].verify(key, bytes.fromhex(case["sig"]), bytes.fromhex(case["msg"]))
                accepted = True
            except Exception:  # whatever the library raises is a refusal
                accepted = False
            assert accepted == (case["result"] == "valid"), (name, case["tcId"], case["comment"])
            checked += 1
    assert checked > 100


@pytest.mark.parametrize(
    "name", ["4_1.rsa_v15_signature.json", "4_2.rsa-pss_signature.json", "4_3.ecdsa_signature.json"]
)
def test_rfc_7520_signatures_verify_and_altered_ones_do_not(vectors: Path, name: str) -> None:
    example = load(vectors, "rfc7520", "jws", name)
    key = jwk.parse(example["input"]["key"], example["input"]["alg"])
    token = example["output"]["compact"]
    header, payload = jws.verify(token, [key], [example["input"]["alg"]])
    assert header.alg == example["input"]["alg"]
    assert payload.decode() == example["input"]["payload"]
    start, middle, end = token.split(".")
    altered = f"{start}.{middle[:-2]}{'A' if middle[-2] != 'A' else 'B'}{middle[-1]}.{end}"
    assert not verifies(altered, key)


def test_rfc_8037_appendix_a() -> None:
    key = jwk.parse(
        {
            "kty": "OKP",
            "crv": "Ed25519",
            "d": "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A",
            "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
        }
    )
    assert key.thumbprint == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
    token = jws.sign(
        Key(None, key.alg, key.kty, key.public, key.private, key.thumbprint),
        {},
        b"Example of Ed25519 signing",
    )
    assert token == (
        "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg"
        "5BhVsPt9g7sVvpAr_MuM0KAg"
    )
