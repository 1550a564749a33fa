"""The `sub` and `sid` by which a client knows people and sessions (OpenID Connect Core §8), and the way back.

Inside the server people and sessions have their own identifiers. Everything that is sent to a client (ID tokens, access tokens,
userinfo, introspection, logout tokens) uses `subject_for` and `session_for`; what comes back from a client is translated by `person_of`
and `session_of`.
"""

from collections.abc import Mapping

from watchword.flows.keyring import PAIRWISE_KEY
from watchword.flows.runtime import Runtime
from watchword.oauth import subject
from watchword.oauth.clients import Client


def subject_for(runtime: Runtime, client: Client, user_id: str) -> str:
    """Return the `sub` of a person for a client."""
    return subject.subject_for(client, user_id, runtime.keyring.secret(PAIRWISE_KEY))


def session_for(runtime: Runtime, client: Client, session_id: str) -> str:
    """Return the `sid` of a session for a client."""
    return subject.session_for(client, session_id, runtime.keyring.secret(PAIRWISE_KEY))


def person_of(runtime: Runtime, sub: str) -> str:
    """Return the identifier behind a `sub` in a verified token of ours: a pairwise one is decrypted, any other returned unchanged."""
    return subject.identifier_in(sub, subject.PERSON, runtime.keyring.secret(PAIRWISE_KEY)) or sub


def session_of(runtime: Runtime, sid: str) -> str:
    """Return the identifier of the session behind a `sid` in a verified ID token of ours."""
    return subject.identifier_in(sid, subject.SESSION, runtime.keyring.secret(PAIRWISE_KEY)) or sid


def is_person(identifier: str, client_id: str, claims: Mapping[str, object]) -> bool:
    """Whether the subject of an access token is a person: neither the client itself nor somebody else's workload."""
    return identifier != client_id and claims.get("subject_kind", "user") == "user"


def is_pairwise(client: Client, claims: Mapping[str, object]) -> bool:
    """Whether an access token has a pairwise `sub`: the client's own, or one that an exchange kept."""
    return client.subject_type == "pairwise" or "sub" in claims


def shown(runtime: Runtime, client: Client, identifier: str, claims: Mapping[str, object]) -> str:
    """Return the `sub` of an access token for its client, whatever the subject is; `claims` has one that an exchange kept."""
    if not is_person(identifier, client.client_id, claims):
        return identifier
    return str(claims.get("sub") or subject_for(runtime, client, identifier))
