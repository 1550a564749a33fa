"""RFC 9901: the same commitments for verifiers that speak SD-JWT, with the attacks of its §9 on what is shown."""

import base64
import hashlib
import json
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from joserfc import jwt as other_jwt
from joserfc.jwk import import_key
from jwcrypto.jwk import JWK
from jwcrypto.jws import InvalidJWSSignature
from sd_jwt.holder import SDJWTHolder
from sd_jwt.verifier import SDJWTVerifier
from tests.unit.zero.refusing import refused

from watchword.credentials.zkproof import ZeroError
from watchword.jose import JoseError, jwk, jwt
from watchword.zero import derivation, disclosure, identity, presentation, proof, sd_jwt
from watchword.zero.records import Secret, encode_base64url

ISSUER = jwk.generate("ES256")
AUDIENCE = "https://api.example"


def issued(holder: Any, key: jwk.Key, names: tuple[str, ...] = ("age", "email", "member")) -> str:
    opened = disclosure.open_attributes(holder.secret, names)
    return sd_jwt.issue(ISSUER, "https://issuer.example", holder.identity, key, holder.now, opened=opened)


def show(holder: Any, names: tuple[str, ...] = ("age",), **changes: Any) -> str:
    key = changes.pop("key", sd_jwt.binding_key(holder.secret))
    signed = issued(
        holder, sd_jwt.binding_key(holder.secret), changes.pop("signed", ("age", "email", "member"))
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
    assert seen.claims.keys() == {"iss", "iat", "exp", "cnf", "zero"}
    assert disclosure.write(holder.secret.seed, "email", "ada@example.org") not in presentation


@pytest.mark.filterwarnings("ignore:EdDSA is deprecated")
def test_what_is_shown_is_good_for_ten_minutes_and_the_leeway(holder: Any) -> None:
    for now, leeway in ((5, 0), (605, 0), (0, 5), (610, 5)):
        assert verify(holder, show(holder), now=holder.now + now, leeway=leeway)
    for now, leeway in ((4, 0), (606, 0), (-1, 5), (611, 5)):
        assert refused(
            lambda now=now, leeway=leeway: verify(holder, show(holder), now=holder.now + now, leeway=leeway)
        )


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


class OtherVerifier(SDJWTVerifier):  # type: ignore[misc]  # it comes without types
    """The reference implementation of the SD-JWT specification, for either algorithm of the key binding."""

    def _verify_key_binding_jwt(self, aud: str, nonce: str, sign_alg: str | None = None) -> None:
        alg = JWK.from_json(json.dumps(self._holder_public_key_payload["jwk"])).get("kty")
        super()._verify_key_binding_jwt(aud, nonce, "EdDSA" if alg == "OKP" else "ES256")


def other(presentation: str, issuer: jwk.Key, audience: str = AUDIENCE, nonce: str = "n-1") -> dict[str, Any]:
    public = JWK.from_json(json.dumps(jwk.public_document(issuer)))
    seen = OtherVerifier(presentation, lambda *_: public, audience, nonce).get_verified_payload()
    return {name: seen[name] for name in ("iss", "age", "email") if name in seen}


@pytest.mark.parametrize("holder_key", ["EdDSA", "ES256"])
def test_the_reference_implementation_reads_what_we_show(holder: Any, holder_key: str) -> None:
    key = sd_jwt.binding_key(holder.secret) if holder_key == "EdDSA" else jwk.generate("ES256")
    signed = issued(holder, key)
    shown = sd_jwt.present(
        signed, holder.secret, ["age"], key, audience=AUDIENCE, nonce="n-1", now=holder.now
    )
    assert other(shown, ISSUER) == {"iss": "https://issuer.example", "age": 33}
    with pytest.raises(ValueError, match="nonce"):
        other(shown, ISSUER, nonce="n-2")
    with pytest.raises(InvalidJWSSignature):
        other(shown, jwk.generate("ES256"))


def test_we_read_what_the_reference_implementation_shows(holder: Any) -> None:
    key = jwk.generate("ES256")
    signed = issued(holder, key)
    opened = disclosure.open_attributes(holder.secret, ["age", "email"])
    theirs = SDJWTHolder(signed + "".join(f"{text}~" for text in opened))
    private = JWK.from_json(json.dumps(jwk.private_document(key)))
    theirs.create_presentation({"email": True}, nonce="n-1", aud=AUDIENCE, holder_key=private)
    now = int(time.time())
    keys = {"issuer": "https://issuer.example", "audience": AUDIENCE, "nonce": "n-1"}
    seen = sd_jwt.verify(theirs.sd_jwt_presentation, [ISSUER], **keys, now=now, leeway=10**9)
    assert seen.attributes == {"email": "ada@example.org"}


def test_the_key_binding_key_is_the_one_that_the_identity_names(holder: Any) -> None:
    assert sd_jwt.binding_key(holder.secret).thumbprint == holder.identity.jkt


ATTACKS: dict[str, tuple[dict[str, Any], str]] = {
    "replay: another nonce": ({"nonce": "n-2"}, "nonce"),
    "relay: another audience": ({"audience": "https://evil.example"}, "sd_jwt"),
    "another issuer": ({"issuer": "https://other.example"}, "sd_jwt"),
    "a key that is not the issuer's": ({"keys": [jwk.generate("ES256")]}, "sd_jwt"),
    "a key binding of long ago": ({"now": 1_800_000_606}, "expired"),
    "a key binding of the future": ({"now": 1_800_000_004}, "expired"),
    "at the identity's end": ({"now": 1_800_086_400}, "sd_jwt"),
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


def test_attack_opening_what_the_issuer_was_never_shown(holder: Any) -> None:
    """An issuer that signs commitments without knowing what is behind them gives its word for whatever the holder put there."""
    assert verify(holder, show(holder, ("age", "email"))).attributes == {
        "age": 33,
        "email": "ada@example.org",
    }
    assert verify(holder, show(holder, ("age",), signed=("age",))).attributes == {"age": 33}
    assert refused(lambda: verify(holder, show(holder, ("email",), signed=("age",)))) == "disclosure"
    assert verify(holder, show(holder, (), signed=())).attributes == {}
    liar = Secret(holder.secret.seed, disclosure.pack_attributes({"age": 99}))
    lie = disclosure.open_attributes(liar, ["age"])
    key = sd_jwt.binding_key(liar)
    attempt = partial(sd_jwt.issue, ISSUER, "https://issuer.example", holder.identity, key, holder.now)
    assert refused(lambda: attempt(opened=lie)) == "disclosure"


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
        pytest.param({"age": 99}, id="a claim with the name of an attribute"),
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
        return sd_jwt.present(
            signed, holder.secret, ["age"], key, audience=AUDIENCE, nonce="n-1", now=holder.now
        )

    assert verify(holder, presentation(claims | {"level": 1}))
    refusal = refused(lambda: verify(holder, presentation(claims | changes)))
    assert refusal == ("disclosure" if "age" in changes else "sd_jwt")


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


def own(holder: Any, **changes: Any) -> str:
    arguments = {"channel": b"jkt:x", "disclose": ["age"], "now": holder.now + 1, **changes}
    return presentation.answer(holder.secret, holder.challenge, **arguments)


def check(holder: Any, shown: str, **changes: Any) -> sd_jwt.Presented:
    known, asked = changes.pop("known", holder.identity), changes.pop("asked", holder.challenge)
    arguments = {"channel": b"jkt:x", "now": holder.now + 2, "leeway": 0, **changes}
    return presentation.verify_own(shown, known, asked, **arguments)


def test_a_holder_answers_a_challenge_by_its_own_word(holder: Any) -> None:
    shown = own(holder)
    assert check(holder, shown).attributes == {"age": 33}
    nonce = encode_base64url(holder.challenge.challenge)
    zid = identity.identity_id(holder.identity.public)
    assert other(shown, sd_jwt.binding_key(holder.secret), nonce=nonce) == {"iss": zid, "age": 33}


def stranger(holder: Any) -> Any:
    secret = Secret(bytes(32), holder.secret.attributes)
    return identity.create(secret, holder.now, holder.now + 86_400, b"r" * 32)


def poorer(holder: Any) -> Any:
    """The holder's point and keys, registered with other attributes."""
    secret = Secret(holder.secret.seed, disclosure.pack_attributes({"age": 12}))
    return identity.create(secret, holder.now, holder.now + 86_400, b"r" * 32)


def asked(verifier: str = AUDIENCE, purpose: str = "login", challenge: bytes = b"c" * 32) -> Any:
    return proof.issue_challenge(verifier, purpose, challenge, 1_800_000_000, 120)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        pytest.param(lambda h: {"asked": asked(challenge=b"d" * 32)}, "nonce", id="replay"),
        pytest.param(
            lambda h: {"asked": asked(verifier="https://evil.example")}, "sd_jwt", id="wrong verifier"
        ),
        pytest.param(lambda h: {"asked": asked(purpose="payment")}, "purpose", id="wrong purpose"),
        pytest.param(lambda h: {"channel": b"jkt:y"}, "channel", id="relay over another channel"),
        pytest.param(lambda h: {"channel": None}, "channel", id="a bound answer where no channel is known"),
        pytest.param(lambda h: {"now": h.now + 122}, "sd_jwt", id="expired"),
        pytest.param(lambda h: {"known": stranger(h)}, "identity", id="another identity"),
        pytest.param(
            lambda h: {"known": poorer(h)}, "disclosure", id="other attributes than the registered ones"
        ),
    ],
)
def test_attacks_on_the_holders_own_word(
    holder: Any, changes: Callable[[Any], dict[str, Any]], reason: str
) -> None:
    shown = own(holder)
    assert check(holder, shown)
    assert refused(lambda: check(holder, shown, **changes(holder))) == reason


def test_attack_with_an_answer_that_is_bound_to_no_purpose(holder: Any) -> None:
    """As other wallets make it, which know nothing of purposes."""
    key, nonce = sd_jwt.binding_key(holder.secret), encode_base64url(holder.challenge.challenge)
    for bound, reason in (({}, "purpose"), ({"purpose": "login"}, "channel")):
        shown = sd_jwt.present(
            sd_jwt.issue_own(holder.secret, holder.now),
            holder.secret,
            [],
            key,
            audience=AUDIENCE,
            nonce=nonce,
            now=holder.now,
            bound=bound,
        )
        attempt = partial(check, holder, shown, channel=None)
        assert refused(attempt) == reason


def test_attack_with_the_credential_of_another(holder: Any) -> None:
    signed = sd_jwt.issue(
        ISSUER,
        "https://issuer.example",
        holder.identity,
        sd_jwt.binding_key(holder.secret),
        holder.now,
        opened=(),
    )
    shown = own(holder, credential=signed, disclose=[])
    presented = presentation.verify_issued(
        shown,
        "https://issuer.example",
        [ISSUER],
        holder.challenge,
        channel=b"jkt:x",
        now=holder.now,
        leeway=5,
    )
    presentation.check_same(presented, holder.identity)
    assert refused(lambda: presentation.check_same(presented, stranger(holder))) == "identity"


def test_no_answer_is_made_with_what_is_no_credential_of_the_holder(holder: Any) -> None:
    signed = issued(holder, sd_jwt.binding_key(holder.secret), ("age",))
    assert own(holder, credential=signed).startswith(signed)
    (email,) = disclosure.open_attributes(holder.secret, ["email"])
    # An answer, one that opens more, a mere JWT.
    for text in (show(holder), f"{signed}{email}~", signed[:-1]):
        assert refused(partial(own, holder, credential=text)) == "malformed"
    derived = derivation.derive(holder.secret, AUDIENCE, "login", holder.secret.attributes)
    for key in (sd_jwt.binding_key(derived), jwk.generate("ES256")):
        assert refused(partial(own, holder, credential=issued(holder, key, ("age",)))) == "identity"


def test_no_answer_opens_what_the_credential_does_not_attest(holder: Any) -> None:
    signed = issued(holder, sd_jwt.binding_key(holder.secret), ("age",))
    assert own(holder, credential=signed, disclose=["age"]).startswith(signed)
    with pytest.raises(ZeroError, match="does not attest 'email'"):
        own(holder, credential=signed, disclose=["age", "email"])


def test_of_the_holders_key_in_a_credential_the_private_part_is_not_looked_at(holder: Any) -> None:
    """Of an RSA key, to check it keeps the whole process from working for a quarter of a minute, and nobody has been verified yet."""
    key = sd_jwt.binding_key(holder.secret)
    claims = dict(jwt.peek(issued(holder, key).partition("~")[0]))
    claims["cnf"] = {"jwk": jwk.public_document(key) | {"d": "AQ"}}
    with pytest.raises(JoseError):
        jwk.parse(claims["cnf"]["jwk"])
    assert sd_jwt.peek_key(jwt.encode(ISSUER, claims, typ=sd_jwt.TYPE) + "~").thumbprint == key.thumbprint


def test_a_challenge_that_has_expired_is_not_answered(holder: Any) -> None:
    assert own(holder)
    assert refused(lambda: own(holder, now=holder.now + 1000)) == "expired"


@pytest.mark.parametrize(
    "text", ["", "eyJ", "eyJ.e30.", "eyJ.!.~", "eyJhIjoxfQ.eyJjbmYiOnsiandrIjp7fX19.AA~", "é"]
)
def test_rubbish_in_the_place_of_ones_own_word(holder: Any, text: str) -> None:
    assert refused(lambda: check(holder, text)) in ("malformed", "sd_jwt")
