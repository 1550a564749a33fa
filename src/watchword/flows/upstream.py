"""Signing in with another provider: the attempt, what the provider says, and whose account that is here.

Theory of operation. The attempt (state, nonce, verifier) is sealed into a cookie of the browser that began it, for one provider and ten
minutes, and its state is used up in the database, so that an answer counts once over all nodes. An account is found by issuer and
subject alone; an address that the provider has verified only ever leads to a question, never to an account (FD-01, FD-03). An
account is linked in a running session only when the attempt was begun for that by a form of the account page: else whoever sends a
browser here, signed in with the provider as themselves, would open the account of whoever sits there.
"""

import hashlib
import hmac
import os
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeVar
from urllib.parse import urlsplit

import msgspec

from watchword import fetch
from watchword.credentials import upstream as rules
from watchword.credentials import upstream_apple, upstream_discovery, upstream_github
from watchword.credentials.names import NameRefused, canonical_email
from watchword.credentials.upstream import Attempt, Identity, Linked, Provider, UpstreamRefused
from watchword.flows import accounts, sessions, upstream_secret
from watchword.flows.runtime import Runtime
from watchword.jose import jwk, strict_json
from watchword.jose.errors import JoseError
from watchword.oauth.errors import OAuthError
from watchword.settings import Upstream
from watchword.store import tokens, upstream_accounts, users
from watchword.store.sessions import Session
from watchword.store.upstream_accounts import UpstreamAccount
from watchword.store.users import User

T = TypeVar("T")
MAX_DOCUMENTS = 100
MIN_KEPT, MAX_KEPT = 60, 3600


class Begun(msgspec.Struct, frozen=True):
    """An attempt under way and where its person wants to go; times are Unix seconds."""

    name: str
    attempt: Attempt
    back: str
    began_at: int
    link_to: str = ""  # who asked on the account page to link; "" for a sign-in
    enrol: str = ""  # the one-time link that is taken with what the provider answers
    max_age: int | None = None  # how many seconds before this the proof may have been made at the provider
    for_application: bool = False  # an application wishes that, and is told when it was


class Found(msgspec.Struct, frozen=True):
    """What a proved identity leads to, and whose account it concerns."""

    outcome: rules.Outcome
    identity: Identity
    user: User | None
    back: str


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Begun).decode


def configured(runtime: Runtime, name: str) -> Upstream:
    """Return a provider's configuration; raise `not_found`."""
    for one in runtime.settings.upstream:
        if one.name == name:
            return one
    raise OAuthError("not_found", "There is no such provider here.")


def posts(settings: Upstream) -> bool:
    """Whether a provider is asked to send its answers as a form."""
    return settings.kind == "apple" or settings.response_mode == "form_post"


def tells_time(settings: Upstream) -> bool:
    """Whether a provider tells an application when somebody proved who they are, as it was configured, else as it is known of it."""
    if settings.kind == "github":
        return False
    known = settings.tells_auth_time
    return upstream_discovery.tells_time(issuer_of(settings)) if known is None else known


async def provider_of(runtime: Runtime, settings: Upstream) -> Provider:
    """Return what a configured provider says of itself; raise UpstreamRefused."""
    if settings.kind == "github":
        return upstream_github.provider(settings.client_id)
    loopback, issuer = runtime.settings.fetch_allow_loopback, issuer_of(settings)
    url = upstream_discovery.discovery_url(issuer, allow_loopback=loopback)
    check = partial(
        upstream_discovery.check_discovery,
        issuer=issuer,
        client_id=settings.client_id,
        extra_hosts=settings.hosts,
        allow_loopback=loopback,
        form_post=posts(settings),
    )
    found = await _document(runtime, url, settings.networks, check)
    basic = found.basic if settings.auth is None else settings.auth == "client_secret_basic"
    apple = settings.kind == "apple"
    return msgspec.structs.replace(
        found,
        scopes=upstream_apple.SCOPES if apple else settings.scopes,
        basic=basic,
        tells_time=tells_time(settings),
        networks=settings.networks,
        verified_as_text=apple,
    )


async def _document(
    runtime: Runtime, url: str, networks: tuple[str, ...], read: Callable[[bytes], T], *, fresh: bool = False
) -> T:
    """Return a provider's document as it is read, fetched at most once in a while, however many wait for it; raise UpstreamRefused.

    One that cannot be read is not kept, however long it says that it holds: the provider may have put it right a moment later.
    """
    until, body = runtime.documents.get(url, (0.0, b""))
    now = runtime.clock()
    if not fresh and 0 < until - now <= MAX_KEPT:
        return read(body)
    try:
        fetched = await runtime.outbound.get(
            url, max_bytes=fetch.MAX_BYTES, now=now, **_reach(runtime, networks)
        )
    except fetch.FetchError as error:
        raise UpstreamRefused("unreachable", error.reason) from None
    try:
        found = read(fetched.body)
    except UpstreamRefused as refused:
        runtime.outbound.fail(url, f"refused for {refused.reason}", runtime.clock(), networks)
        raise
    if len(runtime.documents) >= MAX_DOCUMENTS:
        runtime.documents.clear()
    kept = min(max(fetched.max_age, MIN_KEPT), MAX_KEPT)
    runtime.documents[url] = (runtime.clock() + kept, fetched.body)
    return found


def _reach(runtime: Runtime, networks: tuple[str, ...]) -> dict[str, Any]:
    """Return what may be reached besides the public Internet to ask a provider, who is the operator's own choice."""
    return {"allow_loopback": runtime.settings.fetch_allow_loopback, "networks": networks}


async def begin(
    runtime: Runtime,
    name: str,
    browser: str,
    back: str,
    *,
    link_to: str = "",
    enrol: str = "",
    max_age: int | None = None,
    for_application: bool = False,
) -> tuple[str, bytes]:
    """Return the address to send a browser to, and the sealed attempt for its cookie.

    `link_to` is whose account is to be linked, `enrol` the one-time link to take. The provider is asked to prove again who is there
    when its last proof is more than `max_age` seconds old; 0 asks always; `for_application` says that an application wishes that.
    Raise UpstreamRefused.
    """
    settings = configured(runtime, name)
    provider = await provider_of(runtime, settings)
    address, attempt = rules.begin(
        provider,
        redirect_uri=f"{runtime.settings.issuer}/upstream/{name}/callback",
        random=os.urandom(rules.RANDOM_BYTES),
        max_age=max_age,
    )
    begun = Begun(name, attempt, back, runtime.now(), link_to, enrol, max_age, for_application)
    return address, runtime.root.seal("upstream", browser, _encode(begun), os.urandom(12))


def open_attempt(runtime: Runtime, name: str, browser: str, sealed: bytes) -> Begun | None:
    """Return the attempt that a browser began with a provider, or None when it began none or too long ago."""
    try:
        begun = _decode(runtime.root.open("upstream", browser, sealed))
    except ValueError:
        return None
    fresh = 0 <= runtime.now() - begun.began_at < rules.LIFETIME
    return begun if fresh and begun.name == name else None


async def finish(
    runtime: Runtime,
    name: str,
    begun: Begun | None,
    parameters: Mapping[str, str],
    *,
    current_user: str | None,
    current_is_fresh: bool,
) -> Found:
    """Return what a provider's answer leads to; raise UpstreamRefused."""
    settings = configured(runtime, name)
    if begun is None:  # before anything is fetched: anybody may open this address
        raise UpstreamRefused("state")
    provider = await provider_of(runtime, settings)
    code = rules.check_callback(provider, begun.attempt, parameters)
    if not await _use(runtime, begun):
        raise UpstreamRefused("state", "used")
    identity = await _identify(runtime, settings, provider, begun.attempt, code)
    if settings.kind == "apple":
        identity = upstream_apple.named(identity, parameters.get("user"))
    _check_age(begun, provider, identity)
    found = await runtime.database.read(upstream_accounts.find_upstream, *identity.key)
    user = await runtime.database.read(users.get_user, found.user_id) if found else None
    linked = Linked(user.id, user.disabled_at is not None) if user else None
    if begun.link_to and begun.link_to != current_user:  # signed out, or somebody else, meanwhile
        raise UpstreamRefused("session")
    outcome = rules.decide(
        linked,
        current_user=begun.link_to or None,
        current_is_fresh=current_is_fresh,
        may_register=runtime.settings.sign_up == "open" and identity.verified_email is not None,
        by_link=bool(begun.enrol),
    )
    if outcome == "sign_in" and user is not None:
        use = (*identity.key, user.id, runtime.now())
        if not await runtime.database.write(upstream_accounts.use_upstream, *use):  # unlinked meanwhile
            outcome = "refused_unknown"
    if outcome in ("register", "refused_unknown"):
        user = await _owner_of_address(runtime, identity)
        if user is not None and user.disabled_at is not None:  # it cannot be proved, so it is not asked for
            outcome = "refused_disabled"
    return Found(outcome, identity, user, begun.back)


def _check_age(begun: Begun, provider: Provider, identity: Identity) -> None:
    """Core §3.1.2.1, §3.1.3.7: who was asked for a `max_age` has to tell; whoever sits at the browser can take that wish out of the
    address, but not change what the provider tells. One that never tells proves nothing of it to an application."""
    proved_at = identity.auth_time
    if begun.max_age is None:
        return
    if proved_at is None:
        if provider.tells_time or begun.for_application:
            raise UpstreamRefused("auth_time_missing")
    elif proved_at < begun.began_at - begun.max_age - rules.LEEWAY:
        raise UpstreamRefused("auth_time", "not proved again")


async def _use(runtime: Runtime, begun: Begun) -> bool:
    digest = hashlib.sha256(b"upstream state\n" + begun.attempt.state.encode()).digest()
    until = runtime.now() + rules.LIFETIME
    return await runtime.database.write(tokens.use_identifier, digest, until, begun.began_at)


async def _identify(
    runtime: Runtime, settings: Upstream, provider: Provider, attempt: Attempt, code: str
) -> Identity:
    secret = upstream_secret.of(runtime, settings)
    form = rules.token_request(provider, attempt, code, secret)
    authorization = rules.basic_credentials(provider, secret)
    reach = _reach(runtime, provider.networks)
    try:
        answered = await fetch.post_form(provider.token_endpoint, form, authorization=authorization, **reach)
        answer = rules.read_token_answer(answered.body)
        if settings.kind == "github":
            return await _github(answer.access_token, reach)
    except fetch.FetchError as error:
        raise UpstreamRefused("unreachable", error.reason) from None
    identity = await _check(runtime, provider, attempt, answer)
    if identity.verified_email is not None or provider.userinfo_endpoint is None:
        return identity
    return await _completed(provider.userinfo_endpoint, answer, identity, reach)


async def _check(
    runtime: Runtime, provider: Provider, attempt: Attempt, answer: rules.TokenAnswer
) -> Identity:
    try:
        keys = await keys_of(runtime, provider)
        return rules.check_id_token(provider, attempt, answer, keys, now=runtime.now())
    except UpstreamRefused as refused:
        if refused.detail not in ("key", "signature"):
            raise
    keys = await keys_of(runtime, provider, fresh=True)  # rotated since they were fetched
    return rules.check_id_token(provider, attempt, answer, keys, now=runtime.now())


async def _completed(
    endpoint: str, answer: rules.TokenAnswer, identity: Identity, reach: Mapping[str, Any]
) -> Identity:
    """Return an identity with what the UserInfo endpoint adds; a provider that does not answer there proved it all the same."""
    try:
        fetched = await fetch.fetch(endpoint, bearer=answer.access_token, **reach)
    except fetch.FetchError:
        return identity
    return rules.read_userinfo(fetched.body, identity)


async def keys_of(runtime: Runtime, provider: Provider, *, fresh: bool = False) -> list[jwk.Key]:
    """Return a provider's keys, fetched anew if asked to; raise UpstreamRefused."""
    if provider.jwks_uri is None:
        raise UpstreamRefused("discovery", "jwks_uri")
    return await _document(runtime, provider.jwks_uri, provider.networks, _read_keys, fresh=fresh)


def _read_keys(document: bytes) -> list[jwk.Key]:
    try:
        return jwk.parse_published(strict_json.loads(document))
    except (JoseError, strict_json.StrictJSONError):
        raise UpstreamRefused("keys") from None


async def _github(access_token: str, reach: Mapping[str, Any]) -> Identity:
    """Return who GitHub's API says it is; where an app may not read addresses the account is proved all the same."""
    user = await fetch.fetch(upstream_github.USER_URL, bearer=access_token, **reach)
    try:
        emails = await fetch.fetch(upstream_github.EMAILS_URL, bearer=access_token, **reach)
    except fetch.FetchError:
        return upstream_github.read_identity(user.body)
    return upstream_github.read_identity(user.body, emails.body)


async def _owner_of_address(runtime: Runtime, identity: Identity) -> User | None:
    """Return whose verified address the provider's is; they are asked to prove the account here before it is linked."""
    email = _address(identity)
    return await runtime.database.read(users.find_user, "\x1f", email) if email is not None else None


def _address(identity: Identity) -> str | None:
    """Return the address that a provider has verified as accounts here have it; None for one that none can have."""
    try:
        return canonical_email(identity.verified_email) if identity.verified_email is not None else None
    except NameRefused:
        return None


async def is_address_taken(runtime: Runtime, identity: Identity) -> bool:
    """Whether an account has the address that a provider has verified, or is called so; nobody has proved to be at home there."""
    email = _address(identity)
    return email is not None and await runtime.database.read(users.is_email_taken, email)


async def link(runtime: Runtime, user: User, identity: Identity, session: Session | None = None) -> bool:
    """Link a proved identity to an account, in a session of it or as it was proved just now.

    Return False when it is linked to anybody already, or what proved the account was taken away meanwhile; raise as `sessions.act`.
    """
    account, write = accounts.upstream_account(identity, user, runtime.now()), runtime.database.write
    if session is not None:
        return await sessions.act(runtime, session, upstream_accounts.link_upstream, account, actor=user.id)
    return await write(upstream_accounts.link_proved, account, proof_epoch=user.proof_epoch)


def ticket(runtime: Runtime, session_id: str, name: str) -> str:
    """Return what a session's own account page brings to begin linking a provider; nobody else can make it."""
    text = f"{session_id}\n{name}".encode()
    return hmac.new(runtime.root.derive("upstream linking"), text, hashlib.sha256).hexdigest()


def check_ticket(runtime: Runtime, session_id: str, name: str, sent: str) -> None:
    """Refuse to begin linking what no account page of this session asked for; raise `access_denied`."""
    if not hmac.compare_digest(ticket(runtime, session_id, name).encode(), sent.encode("utf-8", "replace")):
        raise OAuthError(
            "access_denied", "This was not asked for on the account page: open it again.", field="csrf"
        )


async def linked(runtime: Runtime, user: User) -> list[tuple[Upstream, UpstreamAccount | None]]:
    """Return every provider that is offered, each with the account that a person linked there."""
    accounts_there = await runtime.database.read(upstream_accounts.list_upstream, user.id)
    by_issuer = {one.issuer: one for one in accounts_there}
    return [(one, by_issuer.get(issuer_of(one))) for one in runtime.settings.upstream]


async def left_over(runtime: Runtime, user: User) -> list[UpstreamAccount]:
    """Return the accounts that a person linked at providers that are no longer offered."""
    offered = {issuer_of(one) for one in runtime.settings.upstream}
    linked_ever = await runtime.database.read(upstream_accounts.list_upstream, user.id)
    return [one for one in linked_ever if one.issuer not in offered]


def host_of(account: UpstreamAccount) -> str:
    """Return by what a provider is called that has no title any more."""
    return urlsplit(account.issuer).netloc or account.issuer


def issuer_of(settings: Upstream) -> str:
    """Return the issuer under which a provider's accounts are linked."""
    known = {"github": upstream_github.ISSUER, "apple": upstream_apple.ISSUER}
    return settings.issuer or known.get(settings.kind, "")


async def register(runtime: Runtime, identity: Identity) -> User | None:
    """Make an account for a proved identity with a verified address, linked to it; None when either is taken."""
    if identity.verified_email is None:
        return None
    try:
        return await accounts.create_linked(runtime, identity.verified_email, identity)
    except OAuthError:
        return None
