"""Sign in with Apple: an OpenID provider with a few peculiarities.

Owns Apple's issuer and scopes; the client secret, a JWT that we sign with a key issued by Apple; and the name, which arrives unsigned
in the form of the first answer only: it is shown, and proves nothing. All else is as for every provider.
"""

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from msgspec import structs

from watchword.credentials.upstream import Identity, UpstreamRefused, read_json, shown_name
from watchword.jose import jwk, jwt
from watchword.jose.jwk import Key, b64encode

ISSUER = "https://appleid.apple.com"
SCOPES = ("openid", "name", "email")
SECRET_LIFETIME = 300  # seconds; Apple takes up to half a year


def read_key(pem: bytes, key_id: str) -> Key:
    """Return the private key in a file from Apple (PKCS #8, P-256); raise ValueError."""
    try:
        private = serialization.load_pem_private_key(pem, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ValueError("not a private key in PEM without a passphrase") from None
    if not isinstance(private, ec.EllipticCurvePrivateKey) or not isinstance(private.curve, ec.SECP256R1):
        raise ValueError("not a key for ES256")
    numbers = private.private_numbers()
    point = numbers.public_numbers
    members = {"x": point.x, "y": point.y, "d": numbers.private_value}
    texts = {name: b64encode(number.to_bytes(32)) for name, number in members.items()}
    return jwk.parse({"kty": "EC", "crv": "P-256", "kid": key_id, **texts})


def client_secret(key: Key, *, team_id: str, client_id: str, audience: str, now: int) -> str:
    """Return a client secret for Apple: a signed JWT that is valid for SECRET_LIFETIME seconds."""
    claims = {"iss": team_id, "sub": client_id, "aud": audience, "iat": now, "exp": now + SECRET_LIFETIME}
    return jwt.encode(key, claims)


def named(identity: Identity, user: str | None) -> Identity:
    """Return the identity with the name in the form's `user`, where that can be read and the ID token has none."""
    if user is None or identity.name is not None:
        return identity
    try:
        told = read_json(user.encode())
    except (UpstreamRefused, UnicodeEncodeError):
        return identity
    name = told.get("name") if isinstance(told, dict) else None
    parts = [name.get("firstName"), name.get("lastName")] if isinstance(name, dict) else []
    whole = " ".join(part.strip() for part in parts if isinstance(part, str) and part.strip())
    return structs.replace(identity, name=shown_name(whole))
