"""RFC 7636: Proof Key for Code Exchange.

Owns the syntax of challenge and verifier and their comparison. Only `S256` is supported: `plain` reveals the verifier to whoever
sees the authorization request (RFC 9700 §2.1.1). Which client needs PKCE is decided in `authorization`.
"""

import base64
import hashlib
import hmac
import re

from watchword.oauth.errors import OAuthError

METHOD = "S256"

# 32 bytes in base64url without padding: the last of 43 characters carries two zero bits.
_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]")
# §4.1 has clients choose of the first four kinds. The other three are of ordinary Base64: git-credential-oauth up to 0.4 sends its
# 32 random bytes so, and they prove as much.
_VERIFIER = re.compile(r"[A-Za-z0-9._~+/=-]{43,128}")


def challenge_of(code_verifier: str) -> str:
    """Return the S256 challenge of a well-formed verifier (§4.2)."""
    digest = hashlib.sha256(code_verifier.encode("ascii")).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode("ascii")


def check_challenge(code_challenge: str | None, method: str | None) -> str | None:
    """Return the challenge of an authorization request, None when it has none; raise `invalid_request` when malformed."""
    if code_challenge is None:
        if method is not None:
            raise OAuthError("invalid_request", "code_challenge_method was sent without code_challenge.")
        return None
    if method != METHOD:  # §4.3: an absent method means plain, which is not offered
        raise OAuthError(
            "invalid_request", "code_challenge_method must be S256.", field="code_challenge_method"
        )
    if not _CHALLENGE.fullmatch(code_challenge):  # §4.2
        raise OAuthError(
            "invalid_request",
            "code_challenge must be the base64url SHA-256 of the verifier, 43 characters without padding.",
            field="code_challenge",
        )
    return code_challenge


def verify(code_verifier: str | None, code_challenge: str | None) -> None:
    """Raise `invalid_grant` unless the verifier of a token request belongs to the challenge of its code."""
    if code_challenge is None:
        if code_verifier is not None:  # RFC 9700 §4.8.2: a PKCE downgrade
            raise _refused("The code was issued without a code_challenge: send no code_verifier.")
        return
    if not code_verifier:
        raise _refused("The code_verifier is missing.")
    if not _VERIFIER.fullmatch(code_verifier):  # §4.1
        raise _refused("The code_verifier must be 43 to 128 characters from A-Z a-z 0-9 - . _ ~ only.")
    if not hmac.compare_digest(challenge_of(code_verifier).encode(), code_challenge.encode()):  # §4.6
        raise _refused("The code_verifier does not belong to the code_challenge.")


def _refused(description: str) -> OAuthError:
    return OAuthError("invalid_grant", description, field="code_verifier")
