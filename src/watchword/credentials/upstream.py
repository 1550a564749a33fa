"""OpenID Connect Core §3.1, Discovery §4.3 and RFC 9207: signing in with another provider.

Theory of operation: `begin` makes an `Attempt` (state, nonce, verifier), which `flows` keeps with the visit of one browser and takes
out once. The provider sends the browser back; `check_callback` compares what it brought with the attempt and returns the code;
`token_request` redeems it with the verifier; `check_id_token` returns the `Identity`. Nothing in between is trusted: the answer
must come from the provider that was asked (mix-up), to the browser that asked (state), for this attempt (nonce, PKCE).

Owns these checks and what identifies somebody: the pair (issuer, sub), and nothing else. An address is passed on only when the
provider has verified it, and links no accounts (FD-01). GitHub is in `upstream_github`, discovery documents in `upstream_discovery`.
"""

import base64
import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping
from typing import Literal
from urllib.parse import quote_plus, urlencode

import msgspec
from msgspec import structs

from watchword.credentials import names
from watchword.credentials.addresses import AddressRefused, mail_address
from watchword.credentials.names import NameRefused
from watchword.jose import jwt, strict_json
from watchword.jose.errors import JoseError
from watchword.jose.jwk import Key, b64encode
from watchword.jose.strict_json import StrictJSONError

LIFETIME = 600
RANDOM_BYTES = 96
MAX_ANSWER = 64 * 1024
MAX_SUBJECT = 255
MAX_CODE = 4096
MAX_AGE_OF_TOKEN = 600
LEEWAY = 60
_WHEN = '{"id_token":{"auth_time":{"essential":true}}}'  # Core §5.5.1

_VISIBLE = re.compile(r"[\x20-\x7e]+")  # RFC 6749 appendix A: codes and access tokens are of VSCHAR
_SUBJECT = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")


class UpstreamRefused(ValueError):
    """An answer of a provider that is not acceptable; `reason` is stable, `detail` is for the log only."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.detail = detail


class Provider(msgspec.Struct, frozen=True):
    """A configured provider: the checked contents of its discovery document, and our client identifier there."""

    issuer: str
    client_id: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str | None = None
    userinfo_endpoint: str | None = None
    algorithms: tuple[str, ...] = ("RS256",)
    says_iss: bool = False  # RFC 9207: its answers name the issuer
    networks: tuple[str, ...] = ()  # private networks that its endpoints may be in
    takes_claims: bool = False  # Core §5.5: it supports the `claims` parameter
    prompts: tuple[str, ...] | None = None  # supported values of `prompt`; None where it does not say
    tells_time: bool = True  # Core §3.1.2.1: it returns `auth_time` when asked for a `max_age`
    scopes: tuple[str, ...] = ("openid", "profile", "email")
    verified_as_text: bool = False  # `email_verified` may be "true", as Apple writes it
    form_post: bool = False  # it is asked to send its answer as a form
    basic: bool = False  # client_secret_basic, otherwise client_secret_post


class Attempt(msgspec.Struct, frozen=True):
    """One sign-in under way, kept with one browser's visit; every value is a secret until it is used."""

    issuer: str
    state: str
    nonce: str
    code_verifier: str
    redirect_uri: str


class Identity(msgspec.Struct, frozen=True):
    """Who somebody is at a provider; `key` alone identifies the account there."""

    issuer: str
    sub: str
    verified_email: str | None = None
    name: str | None = None
    preferred_username: str | None = None
    auth_time: int | None = None
    sid: str | None = None

    @property
    def key(self) -> tuple[str, str]:
        """The pair under which an account is linked; the same sub of another issuer is somebody else (FD-01)."""
        return self.issuer, self.sub


class TokenAnswer(msgspec.Struct, frozen=True):
    """What the token endpoint gave."""

    access_token: str
    id_token: str | None


def begin(
    provider: Provider,
    *,
    redirect_uri: str,
    random: bytes,
    max_age: int | None = None,
) -> tuple[str, Attempt]:
    """Return the URL to send a browser to, and the attempt to keep; `random` is 96 bytes, `max_age` in seconds.

    With a `max_age` of 0 the person has to authenticate anew or, where a provider does not support that, to select an account.

    The redirect URI must be used for this provider alone, so that an answer shows by its URL which provider was asked (mix-up).
    """
    if len(random) != RANDOM_BYTES:
        raise ValueError("an attempt is made of 96 random bytes")
    state, nonce, verifier = (b64encode(random[start : start + 32]) for start in (0, 32, 64))
    attempt = Attempt(provider.issuer, state, nonce, verifier, redirect_uri)
    asked: dict[str, object] = {
        "response_type": "code",
        "client_id": provider.client_id,
        "redirect_uri": redirect_uri,
        "scope": " ".join(provider.scopes),
        "state": state,
        "code_challenge": b64encode(hashlib.sha256(verifier.encode()).digest()),
        "code_challenge_method": "S256",
    }
    if "openid" in provider.scopes:
        asked["nonce"] = nonce
    if provider.form_post:
        asked["response_mode"] = "form_post"
    if provider.takes_claims:
        asked["claims"] = _WHEN
    # §3.1.2.1, §2: with `max_age` an OpenID provider has to return `auth_time`.
    max_age_sent = max_age if "openid" in provider.scopes else None
    optional = {"prompt": _prompt(provider) if max_age == 0 else None, "max_age": max_age_sent}
    asked |= {name: value for name, value in optional.items() if value is not None}
    joint = "&" if "?" in provider.authorization_endpoint else "?"
    return provider.authorization_endpoint + joint + urlencode(asked, errors="replace"), attempt


def _prompt(provider: Provider) -> str | None:
    wanted = ("login", "select_account")
    return next((one for one in wanted if provider.prompts is None or one in provider.prompts), None)


def check_callback(provider: Provider, attempt: Attempt | None, parameters: Mapping[str, str]) -> str:
    """Return the code that a browser brought back; raise UpstreamRefused (FD-02). The caller has refused repeated parameters."""
    if attempt is None or not _same(parameters.get("state", ""), attempt.state):
        raise UpstreamRefused("state")
    if attempt.issuer != provider.issuer:  # another provider's redirect URI was called
        raise UpstreamRefused("issuer")
    iss = parameters.get("iss")
    if iss is None and provider.says_iss:  # RFC 9207 §2.4
        raise UpstreamRefused("issuer", "iss is missing")
    if iss is not None and iss != provider.issuer:
        raise UpstreamRefused("issuer", "iss is another provider's")
    if "error" in parameters:
        denied = parameters["error"] == "access_denied"
        raise UpstreamRefused("denied" if denied else "error", ascii(parameters["error"])[:100])
    code = parameters.get("code", "")
    if len(code) > MAX_CODE or not _VISIBLE.fullmatch(code):
        raise UpstreamRefused("code")
    return code


def _same(sent: str, kept: str) -> bool:
    return hmac.compare_digest(sent.encode("utf-8", "surrogatepass"), kept.encode())


def token_request(
    provider: Provider, attempt: Attempt, code: str, client_secret: str | None = None
) -> dict[str, str]:
    """Return the form for the provider's token endpoint, with the secret unless that is sent in the header."""
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": attempt.redirect_uri,
        "code_verifier": attempt.code_verifier,
    }
    if client_secret is not None and provider.basic:  # RFC 6749 §2.3: one way to authenticate in each request
        return form
    who = {"client_id": provider.client_id}
    return form | who | ({"client_secret": client_secret} if client_secret is not None else {})


def basic_credentials(provider: Provider, client_secret: str | None) -> str | None:
    """RFC 6749 §2.3.1: return the Authorization header of the token request; None where there is none."""
    if client_secret is None or not provider.basic:
        return None
    pair = f"{quote_plus(provider.client_id)}:{quote_plus(client_secret)}"
    return "Basic " + base64.b64encode(pair.encode()).decode()


def read_token_answer(body: bytes) -> TokenAnswer:
    """Read the answer of a token endpoint; raise UpstreamRefused."""
    answer = read_json(body)
    if not isinstance(answer, dict):
        raise UpstreamRefused("answer")
    if "error" in answer:  # GitHub says so with status 200
        raise UpstreamRefused("error", ascii(answer["error"])[:100])
    access_token, id_token = answer.get("access_token"), answer.get("id_token")
    if not isinstance(access_token, str) or not isinstance(id_token, str | None):
        raise UpstreamRefused("answer")
    if not _VISIBLE.fullmatch(access_token):  # it goes into a header
        raise UpstreamRefused("answer", "access_token")
    if str(answer.get("token_type", "")).lower() != "bearer":  # RFC 6749 §5.1
        raise UpstreamRefused("answer", "token_type")
    return TokenAnswer(access_token, id_token)


def read_json(body: bytes) -> object:
    """Parse an answer of a provider; raise UpstreamRefused."""
    try:
        return strict_json.loads(body, max_bytes=MAX_ANSWER)
    except StrictJSONError:
        raise UpstreamRefused("answer", "not JSON") from None


def check_id_token(
    provider: Provider,
    attempt: Attempt,
    answer: TokenAnswer,
    keys: Iterable[Key],
    *,
    now: int,
) -> Identity:
    """Return who signed in, from an ID token of this provider, for this client and this attempt; raise UpstreamRefused (§3.1.3.7)."""
    if answer.id_token is None or attempt.issuer != provider.issuer:
        raise UpstreamRefused("id_token", "missing, or of another provider")
    try:
        claims = jwt.decode(
            answer.id_token,
            keys,
            algorithms=provider.algorithms,
            typ=("JWT", ""),  # no other kind of JWT is accepted, but many providers leave `typ` out
            issuer=provider.issuer,
            audience=provider.client_id,
            now=now,
            leeway=LEEWAY,
            required=("iss", "sub", "aud", "exp", "iat", "nonce"),
        )
    except JoseError as error:
        raise UpstreamRefused("id_token", error.reason) from None
    _check_claims(provider, attempt, answer, claims, now)
    if provider.verified_as_text and claims.get("email_verified") == "true":
        claims["email_verified"] = True
    return identity(provider.issuer, claims, _auth_time(claims, now))


def _check_claims(
    provider: Provider, attempt: Attempt, answer: TokenAnswer, claims: Mapping[str, object], now: int
) -> None:
    nonce, audience, issued_at = claims["nonce"], claims["aud"], claims["iat"]
    if not isinstance(nonce, str) or not _same(nonce, attempt.nonce):  # §3.1.3.7 step 11
        raise UpstreamRefused("nonce")
    if isinstance(audience, list | tuple) and len(audience) > 1 and "azp" not in claims:  # step 4
        raise UpstreamRefused("id_token", "azp")
    if claims.get("azp", provider.client_id) != provider.client_id:  # step 5
        raise UpstreamRefused("id_token", "azp")
    if not isinstance(issued_at, int | float) or issued_at < now - MAX_AGE_OF_TOKEN - LEEWAY:  # step 10
        raise UpstreamRefused("id_token", "iat")
    if "at_hash" in claims and not _is_hash_of(claims["at_hash"], answer.access_token):  # §3.1.3.8
        raise UpstreamRefused("id_token", "at_hash")


def _is_hash_of(at_hash: object, access_token: str) -> bool:
    raw = access_token.encode("utf-8", "replace")
    halves = (hashlib.new(name, raw).digest() for name in ("sha256", "sha384", "sha512"))
    return at_hash in [b64encode(digest[: len(digest) // 2]) for digest in halves]


def _auth_time(claims: Mapping[str, object], now: int) -> int | None:
    told = claims.get("auth_time")
    if told is None:
        return None
    if isinstance(told, bool) or not isinstance(told, int | float) or not told >= 0:  # Core §2: a number
        raise UpstreamRefused("id_token", "auth_time")
    return int(min(told, now))  # the provider's clock may be ahead of ours


def identity(issuer: str, claims: Mapping[str, object], auth_time: int | None = None) -> Identity:
    """Return the identity in a set of claims, with an address only when `email_verified` is true; raise UpstreamRefused."""
    sub = claims.get("sub")
    if not isinstance(sub, str) or len(sub) > MAX_SUBJECT or not _SUBJECT.fullmatch(sub):  # Core §2
        raise UpstreamRefused("subject")
    verified = claims.get("email_verified") is True  # not "true", not 1
    return Identity(
        issuer=issuer,
        sub=sub,
        verified_email=_email(claims.get("email")) if verified else None,
        name=shown_name(claims.get("name")),
        preferred_username=shown_name(claims.get("preferred_username")),
        auth_time=auth_time,
        sid=_short(claims.get("sid")),
    )


def read_userinfo(body: bytes, known: Identity) -> Identity:
    """Return an identity with what the UserInfo endpoint adds; raise UpstreamRefused when that is about another subject."""
    claims = read_json(body)
    if not isinstance(claims, dict) or claims.get("sub") != known.sub:  # Core §5.3.2
        raise UpstreamRefused("subject", "userinfo is about somebody else")
    told = identity(known.issuer, claims, known.auth_time)
    return structs.replace(
        told,
        name=told.name or known.name,
        preferred_username=told.preferred_username or known.preferred_username,
        sid=known.sid,
    )


def _email(value: object) -> str | None:
    try:
        return mail_address(value) if isinstance(value, str) else None
    except AddressRefused:
        return None


def shown_name(value: object) -> str | None:
    """Return a name from a provider as it is shown; None where it is not a text, or would reorder or hide its surroundings."""
    try:
        return names.display(value) if isinstance(value, str) else None
    except NameRefused:
        return None


def _short(value: object) -> str | None:
    return value if isinstance(value, str) and 0 < len(value) <= MAX_SUBJECT else None


Outcome = Literal[
    "sign_in",
    "link",
    "register",
    "enrol",
    "refused_disabled",
    "refused_taken",
    "refused_proof",
    "refused_unknown",
]


class Linked(msgspec.Struct, frozen=True):
    """The account that an identity's key is linked to."""

    user_id: str
    disabled: bool


def decide(
    linked: Linked | None,
    *,
    current_user: str | None,
    current_is_fresh: bool,
    may_register: bool,
    by_link: bool = False,
) -> Outcome:
    """Return what a proved identity leads to (FD-01, FD-03); `current_user` is signed in in this browser and asked to link it.

    An account is found by the identity's key alone. Linking takes both proofs: the identity's, and a fresh one of the account.
    `by_link` means that an invitation is being accepted: it creates an account for an identity that has none.
    """
    if linked is not None and linked.disabled:  # a provider cannot enable an account
        return "refused_disabled"
    if by_link:
        return "enrol" if linked is None else "refused_taken"
    if current_user is None:
        if linked is not None:
            return "sign_in"
        return "register" if may_register else "refused_unknown"
    if linked is not None:
        return "sign_in" if linked.user_id == current_user else "refused_taken"
    return "link" if current_is_fresh else "refused_proof"
