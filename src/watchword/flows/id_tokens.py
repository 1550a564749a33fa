"""OpenID Connect Core §2: ID tokens, signed with the client's registered algorithm, with the claims of the flow; and what a client sends
back of them as a hint."""

import msgspec

from watchword.flows import profiles, subjects
from watchword.flows.clients import client_answers
from watchword.flows.runtime import Runtime
from watchword.jose import jws
from watchword.oauth import claims, claims_request, logout
from watchword.oauth.claims import Authentication
from watchword.oauth.clients import Client
from watchword.oauth.logout import Hint
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


async def read_hint(runtime: Runtime, token: str) -> Hint | None:
    """Return the contents of an ID token of ours, expired or not, None for anything else.

    Its key may be a former one: an application may keep an ID token for longer than the key that signed it is published.
    """
    keyring = runtime.keyring
    return logout.read_hint(
        token,
        keys=[*await keyring.verification_keys(), *await keyring.former_keys()],
        issuer=runtime.settings.issuer,
        algorithms=jws.ALGORITHMS,
    )


def _authentication(runtime: Runtime, client: Client, grant: Grant) -> Authentication:
    proven = _decode(grant.claims)
    return Authentication(
        subject=subjects.subject_for(runtime, client, grant.user_id),
        auth_time=proven.auth_time,
        acr=proven.acr,
        amr=proven.amr,
        sid=subjects.session_for(runtime, client, grant.session_id),
    )
