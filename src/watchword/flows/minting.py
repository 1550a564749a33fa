"""Minting access tokens, self-contained (RFC 9068) or opaque, as configured for the API or else for the client."""

import os
from collections.abc import Mapping

import msgspec

from watchword.flows import client_auth, lineage, subjects
from watchword.flows.clients import client_registry
from watchword.flows.runtime import Runtime
from watchword.jose import jwt
from watchword.oauth import bearer, claims, ended, status_list, targets, token_format
from watchword.oauth.authorization_details import Detail
from watchword.oauth.clients import Client, TokenFormat
from watchword.oauth.errors import OAuthError
from watchword.oauth.scopes import format_scope
from watchword.store import dating, tokens, users
from watchword.store.statuses import StatusMarks
from watchword.store.tokens import AccessToken, StoredToken

TOO_LONG = (
    "The access token would be too long to be presented: ask for less, or let this client get opaque tokens."
)
NO_JWT = "A JWT would tell who is behind this pairwise subject: leave requested_token_type out."


class AccessGrant(msgspec.Struct, frozen=True):
    """The contents of an access token; `subject` is the server's own identifier, `claims` holds `cnf`, `act`, `auth_time` and the like.

    `lifetime` is in seconds. `format` is the one that the request demands, None where API and client decide.
    """

    client: Client
    subject: str
    scope: tuple[str, ...]
    audience: tuple[str, ...]
    lifetime: int
    grant_id: str | None = None
    claims: Mapping[str, object] = {}
    format: TokenFormat | None = None


class Minted(msgspec.Struct, frozen=True):
    """A fresh access token and the row to store: without it an opaque token is not valid, and a listed one has no status."""

    token: str
    token_type: str
    expires_in: int
    row: StoredToken | None


def lifetime_of(runtime: Runtime, client: Client) -> int:
    """Return how many seconds an access token of a client lives."""
    return client.access_token_lifetime or runtime.settings.access_token_lifetime


async def mint(runtime: Runtime, grant: AccessGrant, now: int) -> Minted:
    """Make an access token; an opaque one is valid only once its row is stored. `now` is in Unix seconds.

    Raises `invalid_target`, `invalid_request` for a JWT that would be too long to be presented or tell too much, and `invalid_client` or
    `invalid_grant` when the client or the account has ended during the request.
    """
    claims.check_audience(grant.audience, grant.client.client_id)
    lifetime, since = grant.lifetime, await _valid_since(runtime, grant)
    # The client or account was enabled again just now: an earlier date would count among the revoked ones. It expires no later for that.
    if 0 < since - now <= jwt.AHEAD:
        since = await _date_ahead(runtime, grant, since)
        grant = msgspec.structs.replace(grant, lifetime=lifetime - (since - now))
        now = since
    token_type = bearer.token_type(grant.claims)
    if _format(runtime, grant) == "opaque":
        token = runtime.new_secret("o")
        return Minted(token, token_type, lifetime, (token_format.ordered_digest(token), _row(grant, now)))
    key = await runtime.keyring.signing_key(
        grant.client.signing_algorithm(runtime.settings.signing_algorithms)
    )
    said = _claims(runtime, grant, now)
    row = None
    if runtime.statuses.concern(grant.client, grant.audience):
        row = _with_status(runtime, grant, said, now)
    token = await runtime.signatures.sign(key, said, "at+jwt")
    if len(token) > bearer.MAX_TOKEN:  # by many groups, resources or details: nobody reads such a token
        raise OAuthError("invalid_request", TOO_LONG)
    return Minted(token, token_type, lifetime, row)


async def _valid_since(runtime: Runtime, grant: AccessGrant) -> int:
    """Return the earliest date of issue (Unix seconds) at which a token of this client and this person, with these parents, is not revoked."""
    known = await client_registry.find_facts(runtime, grant.client.client_id)
    if known is None or known.client.disabled_at is not None:
        raise _ended()
    parents = lineage.parents_of(grant.claims)
    since = (
        max(known.valid_from, await lineage.valid_since(runtime, parents)) if parents else known.valid_from
    )
    if not _names_account(grant):
        return since
    user = await runtime.database.read(users.get_user, grant.subject)
    if user is None or user.disabled_at is not None:
        raise OAuthError("invalid_grant", "The account was disabled or deleted meanwhile.")
    return max(since, await lineage.account_valid_since(runtime, user))


async def _date_ahead(runtime: Runtime, grant: AccessGrant, since: int) -> int:
    """Return the date (Unix seconds) of a token that has to be dated at `since`, or later, and have the next end of what it depends on count
    from there."""
    clients = {grant.client.client_id, *lineage.clients_of(lineage.parents_of(grant.claims))}
    person = grant.subject if _names_account(grant) else None
    handle = lineage.account_handle(runtime, person) if person else None
    date = await runtime.database.write(dating.date_ahead, sorted(clients), person, handle, since)
    if date is None:
        raise _ended()
    return date


def _ended() -> OAuthError:
    return client_auth.refused("disabled or deleted since it was authenticated", basic=False)


def _format(runtime: Runtime, grant: AccessGrant) -> TokenFormat:
    if subjects.is_pairwise(grant.client, grant.claims) and _names_account(grant):
        # A JWT would have to name the account, which its pairwise `sub` is to hide, for its end to be noticed offline
        if grant.format == "jwt":
            raise OAuthError("invalid_request", NO_JWT, field="requested_token_type")
        return "opaque"
    if grant.format is not None:
        return grant.format
    default = grant.client.access_token_format
    return targets.format_for(grant.audience, runtime.settings.token_formats, default)


def _names_account(grant: AccessGrant) -> bool:
    # A token with a grant ends with it, and the grant with the account; a token without one has to name the account.
    return not grant.grant_id and subjects.is_person(grant.subject, grant.client.client_id, grant.claims)


def _with_status(
    runtime: Runtime, grant: AccessGrant, said: dict[str, object], now: int
) -> StatusMarks | None:
    """Give a token its place in a status list; return the row to store, None when it depends on its client alone."""
    list_id, index = runtime.statuses.allot(grant.client)
    said["status"] = status_list.reference_claim(runtime.statuses.address(list_id), index)
    digests = ended.dependencies(said)
    return StatusMarks(list_id, index, now, now + grant.lifetime, digests) if digests else None


def _claims(runtime: Runtime, grant: AccessGrant, now: int) -> dict[str, object]:
    extra = grant.claims
    if grant.grant_id:
        extra = {**extra, "grant_id": grant.grant_id}
    elif _names_account(grant):
        parents = (*lineage.parents_of(extra), f"account:{lineage.account_handle(runtime, grant.subject)}")
        extra = {**extra, "parents": parents}
    return claims.access_token_claims(
        issuer=runtime.settings.issuer,
        subject=subjects.shown(runtime, grant.client, grant.subject, grant.claims),
        audience=grant.audience,
        client_id=grant.client.client_id,
        scope=grant.scope,
        jti=os.urandom(16).hex(),
        now=now,
        lifetime=grant.lifetime,
        extra=extra,
    )


def _row(grant: AccessGrant, now: int) -> AccessToken:
    return AccessToken(
        client_id=grant.client.client_id,
        subject=grant.subject,
        scope=format_scope(grant.scope),
        audience=format_scope(grant.audience),
        issued_at=now,
        expires_at=now + grant.lifetime,
        grant_id=grant.grant_id,
        claims=msgspec.json.encode(grant.claims).decode() if grant.claims else "{}",
    )


async def issue(runtime: Runtime, grant: AccessGrant) -> Minted:
    """Mint an access token and store its row, durably when this returns; raise as `mint`."""
    if runtime.statuses.concern(grant.client, grant.audience):
        await runtime.statuses.prepare(grant.client)
    minted = await mint(runtime, grant, runtime.now())
    if minted.row is not None:
        await tokens.append_token(runtime.database, minted.row)
    return minted


def token_response(
    minted: Minted, scope: tuple[str, ...], details: tuple[Detail, ...] = ()
) -> dict[str, object]:
    """Return the members of a token response (RFC 6749 §5.1, RFC 9396 §7)."""
    document: dict[str, object] = {
        "access_token": minted.token,
        "token_type": minted.token_type,
        "expires_in": minted.expires_in,
        "scope": format_scope(scope),
    }
    if details:
        document["authorization_details"] = details
    return document
