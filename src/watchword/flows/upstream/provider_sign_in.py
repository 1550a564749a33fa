"""Signing in with another provider: the attempt, the provider's answer, and the account that it leads to.

Theory of operation. The attempt (state, nonce, verifier) is encrypted into a cookie of the browser that began it, for one provider and
ten minutes, and its state is recorded as used in the database, so that an answer counts once over all nodes. An account is found by
issuer and subject alone; a verified address at most leads to a question, never into an account (FD-01, FD-03). In a live session an
identity is linked only if the attempt was begun by a form on the account page: otherwise an attacker could send a browser here with
the attacker's own identity, and link it to the account of whoever is signed in.
"""

import hashlib
import os
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeVar

import msgspec

from watchword import fetch
from watchword.credentials import upstream as rules
from watchword.credentials import upstream_apple, upstream_discovery, upstream_github
from watchword.credentials.upstream import Attempt, Identity, Linked, Provider, UpstreamRefused
from watchword.flows.runtime import Runtime
from watchword.flows.upstream import upstream_secret
from watchword.flows.upstream.upstream_links import issuer_of, owner_of_address
from watchword.jose import jwk, strict_json
from watchword.jose.errors import JoseError
from watchword.oauth.errors import OAuthError
from watchword.settings import Upstream
from watchword.store import tokens, upstream_accounts, users
from watchword.store.users import User

T = TypeVar("T")
MAX_DOCUMENTS = 100
MIN_KEPT, MAX_KEPT = 60, 3600


class Begun(msgspec.Struct, frozen=True):
    """A pending attempt, and where its person wants to go afterwards; times are Unix seconds."""

    name: str
    attempt: Attempt
    back: str
    began_at: int
    link_to: str = ""  # the account to link, as asked for on the account page; "" for a sign-in
    enrol: str = ""  # the one-time link that the identity will accept
    # How many seconds before `began_at` the person may have authenticated at the provider
    max_age: int | None = None
    for_application: bool = False  # an application requested `max_age`, and will get `auth_time`


class Found(msgspec.Struct, frozen=True):
    """The outcome for a verified identity, the account concerned, and when the provider was asked who it is, in Unix seconds."""

    outcome: rules.Outcome
    identity: Identity
    user: User | None
    back: str
    answered_at: int


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Begun).decode


def configured(runtime: Runtime, name: str) -> Upstream:
    """Return a provider's configuration; raise `not_found`."""
    for one in runtime.settings.upstream:
        if one.name == name:
            return one
    raise OAuthError("not_found", "There is no such provider here.")


def posts(settings: Upstream) -> bool:
    """Whether a provider answers by form_post."""
    return settings.kind == "apple" or settings.response_mode == "form_post"


def tells_time(settings: Upstream) -> bool:
    """Whether a provider sends `auth_time`, as configured, else as known of that provider."""
    if settings.kind == "github":
        return False
    known = settings.tells_auth_time
    return upstream_discovery.tells_time(issuer_of(settings)) if known is None else known


async def provider_of(runtime: Runtime, settings: Upstream) -> Provider:
    """Return a configured provider with its metadata; raise UpstreamRefused."""
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
    """Return what `read` makes of a provider's document, cached, with one fetch for all that wait; raise UpstreamRefused.

    A document that `read` refuses is not cached, whatever its Cache-Control: the provider may correct it a moment later.
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
    """Return what may be reached besides the public Internet for a provider, which the operator has chosen."""
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
) -> tuple[str, str]:
    """Return the address to send a browser to, and the sealed attempt for its cookie.

    `link_to` is the account to link, `enrol` the one-time link to accept. With `max_age` the provider is asked to authenticate the
    person again when that was more than so many seconds ago, with 0 always; `for_application` says that an application requested this.
    Raises UpstreamRefused, or `not_found` for no such provider.
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
    return address, runtime.root.seal_text("upstream", browser, _encode(begun))


def open_attempt(runtime: Runtime, name: str, browser: str, sealed: str) -> Begun | None:
    """Return the attempt that a browser began with a provider, None when there is none, or it is too old."""
    try:
        begun = _decode(runtime.root.open_text("upstream", browser, sealed))
    except ValueError:
        return None
    return begun if runtime.is_young(begun.began_at, rules.LIFETIME) and begun.name == name else None


async def finish(
    runtime: Runtime,
    name: str,
    begun: Begun | None,
    parameters: Mapping[str, str],
    *,
    current_user: str | None,
    current_is_fresh: bool,
) -> Found:
    """Process a provider's answer and return the outcome; raise UpstreamRefused, or `not_found` for no such provider."""
    settings = configured(runtime, name)
    if begun is None:  # first, before anything is fetched: anybody can open this address
        raise UpstreamRefused("state")
    provider = await provider_of(runtime, settings)
    code, answered_at = rules.check_callback(provider, begun.attempt, parameters), runtime.now()
    if not await _use(runtime, begun):
        raise UpstreamRefused("repeated")
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
        user = await owner_of_address(runtime, identity)
        # Nobody can sign in to it, so nobody is asked to
        if user is not None and user.disabled_at is not None:
            outcome = "refused_disabled"
    return Found(outcome, identity, user, begun.back, answered_at)


def _check_age(begun: Begun, provider: Provider, identity: Identity) -> None:
    """Core §3.1.2.1, §3.1.3.7: a provider that was sent `max_age` must return `auth_time`, which is checked here, since the person at the
    browser can remove `max_age` from the address. A provider that never returns it cannot satisfy an application."""
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
    """Return an identity with what the UserInfo endpoint adds; unchanged when that does not answer, as the ID token is the proof."""
    try:
        fetched = await fetch.fetch(endpoint, bearer=answer.access_token, **reach)
    except fetch.FetchError:
        return identity
    return rules.read_userinfo(fetched.body, identity)


async def keys_of(runtime: Runtime, provider: Provider, *, fresh: bool = False) -> list[jwk.Key]:
    """Return a provider's keys, with `fresh` not from the cache; raise UpstreamRefused."""
    if provider.jwks_uri is None:
        raise UpstreamRefused("discovery", "jwks_uri")
    return await _document(runtime, provider.jwks_uri, provider.networks, _read_keys, fresh=fresh)


def _read_keys(document: bytes) -> list[jwk.Key]:
    try:
        return jwk.parse_published(strict_json.loads(document))
    except (JoseError, strict_json.StrictJSONError):
        raise UpstreamRefused("keys") from None


async def _github(access_token: str, reach: Mapping[str, Any]) -> Identity:
    """Return the identity by GitHub's API; without a verified address where the app may not read addresses."""
    user = await fetch.fetch(upstream_github.USER_URL, bearer=access_token, **reach)
    try:
        emails = await fetch.fetch(upstream_github.EMAILS_URL, bearer=access_token, **reach)
    except fetch.FetchError:
        return upstream_github.read_identity(user.body)
    return upstream_github.read_identity(user.body, emails.body)
