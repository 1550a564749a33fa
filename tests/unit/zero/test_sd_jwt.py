"""RFC 9901: the same commitments for verifiers that speak SD-JWT, with the attacks of its §9 on what is shown."""

import base64
import hashlib
import json
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from joserfc import jwt as other_jwt
from joserfc.jwk import import_key

from watchword.credentials.zkproof import ZeroError
from watchword.jose import jwk, jwt
from watchword.zero import derivation, disclosure, sd_jwt
from watchword.zero.records import Secret, encode_base64url

ISSUER = jwk.generate("ES256")
AUDIENCE = "https://api.example"


def refused(attempt: Callable[[], object]) -> str:
    with pytest.raises(ZeroError) as error:
        attempt()
    return error.value.reason


def show(holder: Any, names: tuple[str, ...] = ("age",), **changes: Any) -> str:
    key = changes.pop("key", sd_jwt.binding_key(holder.secret))
    signed = sd_jwt.issue(
        ISSUER, "https://issuer.example", holder.identity, sd_jwt.binding_key(holder.secret), holder.now
    )
    arguments = {"audience": AUDIENCE, "nonce": "n-1", "now": holder.now + 5, **changes}
    return sd_jwt.present(signed, holder.secret, names, key, **arguments)


def verify(holder: Any, presentation: str, **changes: Any) -> sd_jwt.Presented:
    arguments = {
        "issuer": "https://issuer.example",
        "audience": AUDIENCE,
        "nonce": "n-1",
        "now": holder.now + 6,
        **changes,
    }
    return sd_jwt.verify(presentation, arguments.pop("keys", [ISSUER]), **arguments)


def test_what_is_opened_is_seen_and_the_rest_is_not(holder: Any) -> None:
    presentation = show(holder)
    seen = verify(holder, presentation)
    assert seen.attributes == {"age": 33}
    assert seen.public == encode_base64url(holder.identity.public)
    assert disclosure.write(holder.secret.seed, "email", "ada@example.org") not in presentation


@pytest.mark.filterwarnings("ignore:EdDSA is deprecated")
def test_a_verifier_that_knows_only_the_rfc_reads_it(holder: Any) -> None:
    """With joserfc for the signatures, and RFC 9901 §7 followed by hand."""
    signed, shown, binding = show(holder).split("~")
    public: dict[str, str | list[str]] = {**jwk.public_document(ISSUER)}
    claims = other_jwt.decode(signed, import_key(public), algorithms=["ES256"]).claims
    assert encode_base64url(hashlib.sha256(shown.encode()).digest()) in claims["_sd"]
    assert json.loads(base64.urlsafe_b64decode(shown + "=="))[1:] == ["age", 33]
    bound = other_jwt.decode(binding, import_key(claims["cnf"]["jwk"]), algorithms=["EdDSA"])
    assert bound.header["typ"] == "kb+jwt"
    hashed = hashlib.sha256(f"{signed}~{shown}~".encode()).digest()
    assert bound.claims["sd_hash"] == encode_base64url(hashed)


def test_the_key_binding_key_is_the_one_that_the_identity_names(holder: Any) -> None:
    assert sd_jwt.binding_key(holder.secret).thumbprint == holder.identity.jkt


ATTACKS: dict[str, tuple[dict[str, Any], str]] = {
    "replay: another nonce": ({"nonce": "n-2"}, "nonce"),
    "relay: another audience": ({"audience": "https://evil.example"}, "sd_jwt"),
    "another issuer": ({"issuer": "https://other.example"}, "sd_jwt"),
    "a key that is not the issuer's": ({"keys": [jwk.generate("ES256")]}, "sd_jwt"),
    "a key binding of long ago": ({"now": 1_800_000_606}, "expired"),
    "a key binding of the future": ({"now": 1_800_000_004}, "expired"),
    "after the identity's end": ({"now": 1_800_086_401}, "sd_jwt"),
    "a nonce that is no ASCII": ({"nonce": "\ud800é"}, "nonce"),
}


@pytest.mark.parametrize(("changes", "reason"), ATTACKS.values(), ids=ATTACKS.keys())
def test_attacks(holder: Any, changes: dict[str, Any], reason: str) -> None:
    presentation = show(holder)
    assert verify(holder, presentation)
    assert refused(lambda: verify(holder, presentation, **changes)) == reason


def test_a_thief_of_the_sd_jwt_without_the_holders_key_shows_nothing(holder: Any) -> None:
    assert verify(holder, show(holder))
    assert refused(lambda: verify(holder, show(holder, key=jwk.generate("EdDSA")))) == "sd_jwt"


def test_a_disclosure_cannot_be_added_removed_or_replaced(holder: Any) -> None:
    signed, age, binding = show(holder).split("~")
    email = disclosure.write(holder.secret.seed, "email", "ada@example.org")
    for shown in ((age, email), (), (email,), (age, age)):
        assert refused(partial(verify, holder, "~".join((signed, *shown, binding)))) == "sd_hash"


def test_the_holder_cannot_open_what_was_not_issued(holder: Any) -> None:
    liar = Secret(holder.secret.seed, disclosure.pack_attributes({"age": 99}))
    signed = show(holder).split("~")[0] + "~"
    key = sd_jwt.binding_key(liar)
    lie = sd_jwt.present(signed, liar, ["age"], key, audience=AUDIENCE, nonce="n-1", now=holder.now + 5)
    assert refused(lambda: verify(holder, lie)) == "disclosure"


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"_sd_alg": "md5"}, id="another digest algorithm"),
        pytest.param({"_sd": {"a": 1}}, id="digests that are no list"),
        pytest.param({"_sd": ["A" * 43] * 2}, id="a digest twice"),
        pytest.param({"_sd": [1]}, id="a digest that is a number"),
        pytest.param({"_sd": ["é"]}, id="a digest that is no ASCII"),
        pytest.param({"cnf": {}}, id="no key to confirm by"),
        pytest.param({"cnf": "key"}, id="a confirmation that is a text"),
        pytest.param({"cnf": {"jwk": {"kty": "oct", "k": "AAAA"}}}, id="a symmetric key to confirm by"),
    ],
)
def test_malformed_claims_of_a_trusted_issuer(holder: Any, changes: dict[str, Any]) -> None:
    key = sd_jwt.binding_key(holder.secret)
    claims = {
        "iss": "https://issuer.example",
        "exp": holder.now + 100,
        "cnf": {"jwk": jwk.public_document(key)},
        "_sd": list(holder.identity.commitments),
    }

    def presentation(claims: dict[str, Any]) -> str:
        signed = jwt.encode(ISSUER, claims, typ=sd_jwt.TYPE) + "~"
        return sd_jwt.present(signed, holder.secret, [], key, audience=AUDIENCE, nonce="n-1", now=holder.now)

    assert verify(holder, presentation(claims))
    assert refused(lambda: verify(holder, presentation(claims | changes))) == "sd_jwt"


@pytest.mark.parametrize(
    "text",
    ["", "~", "~~", "a~b~c", "é~", "\ud800~", "a" * 70_000 + "~", "~" * 60_000, "a.b.c~"],
    ids=lambda t: ascii(t[:8]),
)
def test_rubbish(holder: Any, text: str) -> None:
    assert refused(lambda: verify(holder, text)) in ("malformed", "sd_jwt")


def test_derived_identities_have_unlinkable_binding_keys(holder: Any) -> None:
    child = derivation.derive(holder.secret, AUDIENCE, "login")
    assert sd_jwt.binding_key(child).thumbprint != sd_jwt.binding_key(holder.secret).thumbprint
