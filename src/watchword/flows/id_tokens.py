"""OpenID Connect Core §2: ID tokens, signed with the client's registered algorithm, with the claims of the flow."""

import msgspec

from watchword.flows import client_answers, profiles, subjects
from watchword.flows.runtime import Runtime
from watchword.oauth import claims, claims_request
from watchword.oauth.claims import Authentication
from watchword.oauth.clients import Client
from watchword.store import documents
from watchword.store.grants import Grant
from watchword.store.users import User

LIFETIME = 600


class _SignIn(msgspec.Struct, frozen=True):
    """How a person had signed in when a grant was made."""

    auth_time: int | None = None
    acr: str | None = None
    amr: tuple[str, ...] = ()


_decode = documents.reader(_SignIn)


async def make(
    runtime: Runtime,
    client: Client,
    grant: Grant,
    user: User,
    *,
    scope: tuple[str, ...],
    nonce: str | None,
    access_token: str,
) -> str:
    """Return an ID token for the person and the client of a grant; raise `invalid_request` when it cannot be encrypted."""
    key = await client_answers.signing_key(runtime, client, "id_token")
    members = claims.id_token_claims(
        _authentication(runtime, client, grant),
        issuer=runtime.settings.issuer,
        client_id=client.client_id,
        nonce=nonce,
        now=runtime.now(),
        lifetime=LIFETIME,
        alg=key.alg,
        access_token=access_token,
        person=profiles.of(user),
        wishes=claims_request.read(grant.wishes).id_token,
        permitted=profiles.permitted(client, scope),
        known=profiles.scope_claims(runtime.settings),
    )
    return await client_answers.signed(runtime, client, "id_token", members, "JWT", key)


def _authentication(runtime: Runtime, client: Client, grant: Grant) -> Authentication:
    proven = _decode(grant.claims)
    return Authentication(
        subject=subjects.subject_for(runtime, client, grant.user_id),
        auth_time=proven.auth_time,
        acr=proven.acr,
        amr=proven.amr,
        sid=subjects.session_for(runtime, client, grant.session_id),
    )
