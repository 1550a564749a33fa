"""RFC 9901: the same commitments as an SD-JWT, for verifiers that speak JOSE rather than Schnorr.

An issuer (or the holder itself) signs the digests; the holder shows the disclosures that it chooses, with a
key-binding JWT by a JOSE key. That key is made from the same seed but is not the identity's scalar: no secret
serves two schemes. Verification accepts what `issue` makes: flat claims, SHA-256.
"""

import hashlib
import hmac
from collections.abc import Collection, Iterable, Mapping

import msgspec

from watchword.credentials.zkproof import ZeroError
from watchword.jose import JoseError, jwk, jwt
from watchword.zero.derivation import binding_jwk, public_of
from watchword.zero.disclosure import Value, check_opened, commitments, digest, open_attributes
from watchword.zero.identity import identity_id
from watchword.zero.proof import LIFETIME
from watchword.zero.records import Identity, Secret, encode_base64url

TYPE = "zero+sd-jwt"
KEY_BINDING_TYPE = "kb+jwt"
ALGORITHMS = ("ES256", "ES384", "EdDSA")
MAX_PRESENTATION = 64 * 1024
MAX_AGE = 600


class Presented(msgspec.Struct, frozen=True):
    """A verified presentation: the issuer's claims, the disclosed attributes, the identity's public point, and all signed digests."""

    claims: dict[str, object]
    attributes: dict[str, Value]
    public: str
    committed: frozenset[str]


def binding_key(secret: Secret) -> jwk.Key:
    """Return the JOSE key with which this holder signs key-binding JWTs."""
    return jwk.parse(binding_jwk(secret.seed), "EdDSA")


def issue(
    issuer_key: jwk.Key,
    issuer: str,
    identity: Identity,
    holder_key: jwk.Key,
    now: int,
    *,
    opened: Collection[str],
) -> str:
    """Sign those of an identity's commitments that were `opened` to the issuer, as an SD-JWT bound to the holder's key, without disclosures.

    The others are not signed: a commitment may hide anything, and whoever trusts the issuer would believe it. Raises ZeroError
    `disclosure` for a disclosure that the identity has no commitment to.
    """
    check_opened(opened, identity.commitments)
    claims = {"iss": issuer, "iat": now, "exp": identity.expires}
    return _sign(issuer_key, claims, holder_key, identity.public, sorted(map(digest, opened)))


def issue_own(secret: Secret, now: int, names: Iterable[str] | None = None) -> str:
    """Sign one's own commitments without an issuer: `iss` is the identity's short name, the key is the binding key.

    Signed are the attributes of these names; by default all, with their decoys. An identity that is derived again for a single answer,
    with fewer attributes, cannot know how many decoys it was registered with.
    """
    key, public = binding_key(secret), public_of(secret.seed)
    claims = {"iss": identity_id(public), "iat": now, "exp": now + LIFETIME}
    signed = commitments(secret) if names is None else sorted(map(digest, open_attributes(secret, names)))
    return _sign(key, claims, key, public, signed)


def _sign(
    issuer_key: jwk.Key,
    claims: Mapping[str, object],
    holder_key: jwk.Key,
    public: bytes,
    digests: Iterable[str],
) -> str:
    whole = {
        **claims,
        "cnf": {"jwk": jwk.public_document(holder_key)},  # §4.1.2
        "zero": {"group": "edwards25519", "public": encode_base64url(public)},
        "_sd": list(digests),
        "_sd_alg": "sha-256",
    }
    return jwt.encode(issuer_key, whole, typ=TYPE) + "~"


def present(
    sd_jwt: str,
    secret: Secret,
    names: Iterable[str],
    key: jwk.Key,
    *,
    audience: str,
    nonce: str,
    now: int,
    bound: Mapping[str, str] | None = None,
) -> str:
    """Open the named attributes for one audience and nonce; raise ZeroError for an unknown one.

    `bound` are further claims of the key-binding JWT, such as the purpose; verifiers that do not know them ignore them (§4.3).
    """
    shown = sd_jwt + "".join(f"{disclosure}~" for disclosure in open_attributes(secret, names))
    claims = {**(bound or {}), "iat": now, "aud": audience, "nonce": nonce, "sd_hash": _sd_hash(shown)}
    return shown + jwt.encode(key, claims, typ=KEY_BINDING_TYPE)


def verify(
    presentation: str,
    issuer_keys: Iterable[jwk.Key],
    *,
    issuer: str,
    audience: str,
    nonce: str,
    now: int,
    leeway: int = 0,
    bound: Mapping[str, str] | None = None,
) -> Presented:
    """Verify a presentation: the issuer's signature, the disclosures, the key binding (§7); raise ZeroError.

    `bound` are further claims that the key-binding JWT must hold, as given to `present`.
    """
    if len(presentation) > MAX_PRESENTATION or presentation.count("~") < 1:
        raise ZeroError("malformed", "not an SD-JWT with a key-binding JWT")
    signed, *disclosures, binding = presentation.split("~")
    try:
        claims = jwt.decode(
            signed,
            issuer_keys,
            algorithms=ALGORITHMS,
            typ=TYPE,
            issuer=issuer,
            now=now,
            leeway=leeway,
            required=("exp", "cnf"),
        )
        binding_claims = jwt.decode(
            binding,
            [_confirmed(claims)],
            algorithms=ALGORITHMS,
            typ=KEY_BINDING_TYPE,
            audience=audience,
            now=now,
            leeway=leeway,
            required=("iat", "nonce", "sd_hash"),
        )
    except JoseError as error:
        raise ZeroError("sd_jwt", f"the signature or its claims: {error.reason}") from None
    wanted = {
        **(bound or {}),
        "nonce": nonce,
        "sd_hash": _sd_hash(presentation[: len(presentation) - len(binding)]),
    }
    _check_binding(binding_claims, wanted, now, leeway)
    return _presented(claims, disclosures)


def _presented(claims: dict[str, object], disclosures: list[str]) -> Presented:
    digests = claims.get("_sd", [])
    if claims.get("_sd_alg", "sha-256") != "sha-256" or not isinstance(digests, list):  # §4.1.1
        raise ZeroError("sd_jwt", "an unknown digest algorithm, or no list of digests")
    committed = [digest for digest in digests if isinstance(digest, str) and digest.isascii()]
    if len(set(committed)) != len(digests):  # §7.1 step 4
        raise ZeroError("sd_jwt", "a repeated digest, or one that is not a text")
    attributes = check_opened(disclosures, committed)
    own = {name: value for name, value in claims.items() if name not in ("_sd", "_sd_alg")}
    if attributes.keys() & own.keys():  # §7.1 step 3.c.ii.3
        raise ZeroError("disclosure", "an attribute has the name of a claim")
    zero = claims.get("zero")
    public = zero.get("public") if isinstance(zero, Mapping) else None
    return Presented(own, attributes, public if isinstance(public, str) else "", frozenset(committed))


def peek_opened(presentation: str) -> list[str]:
    """Return the disclosures in a presentation, without verifying anything."""
    return presentation.split("~")[1:-1]


def peek_key(presentation: str) -> jwk.Key:
    """Return the key that a presentation says is its holder's, without verifying anything; raise ZeroError."""
    try:
        claims = jwt.peek(presentation.partition("~")[0])
        return _confirmed({"cnf": claims.get("cnf")})
    except JoseError:
        raise ZeroError("malformed", "not an SD-JWT") from None


def _confirmed(claims: Mapping[str, object]) -> jwk.Key:
    confirmation = claims["cnf"]
    document = confirmation.get("jwk") if isinstance(confirmation, Mapping) else None
    if not isinstance(document, Mapping):
        raise ZeroError("sd_jwt", "no key to confirm the holder by")
    return jwk.parse_public(document)


def _check_binding(claims: Mapping[str, object], wanted: Mapping[str, str], now: int, leeway: int) -> None:
    for name, value in wanted.items():  # §7.3
        got = claims.get(name)
        if not isinstance(got, str) or not hmac.compare_digest(
            got.encode(errors="replace"), value.encode(errors="replace")
        ):
            raise ZeroError(name, f"the key-binding JWT has another {name}")
    issued = claims["iat"]
    if not isinstance(issued, int | float) or not -leeway <= now - issued <= MAX_AGE + leeway:
        raise ZeroError("expired", "the key-binding JWT is too old, or dated in the future")


def _sd_hash(shown: str) -> str:
    return encode_base64url(hashlib.sha256(shown.encode(errors="replace")).digest())
