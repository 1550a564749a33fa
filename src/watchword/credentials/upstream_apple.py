"""Sign in with Apple: an OpenID provider with a few peculiarities.

Owns Apple's issuer and scopes; the client secret, a JWT that we sign with a key issued by Apple; and the name, which arrives unsigned
in the form of the first answer only: it is shown, and proves nothing. All else is as for every provider.
"""

from msgspec import structs

from watchword.credentials.upstream import Identity, UpstreamRefused, read_json, shown_name
from watchword.jose import JoseError, jwk, jwt
from watchword.jose.jwk import Key

ISSUER = "https://appleid.apple.com"
SCOPES = ("openid", "name", "email")
SECRET_LIFETIME = 300  # seconds; Apple takes up to half a year


def read_key(pem: bytes, key_id: str) -> Key:
    """Return the private key in a file from Apple (PKCS #8, P-256); raise ValueError."""
    try:
        key = jwk.parse_pem(pem, kid=key_id)
    except JoseError:
        raise ValueError("not a private key in PEM without a passphrase") from None
    if key.alg != "ES256":
        raise ValueError("not a key for ES256")
    return key


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
