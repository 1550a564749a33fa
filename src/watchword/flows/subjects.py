"""By which names a client knows people and their sessions (OpenID Connect Core §8): the one place that turns identifiers into them.

Inside the server a person is always the account's identifier and a session its own. Whatever leaves for a client (ID tokens,
access tokens, userinfo, introspection, logout tokens) asks here for `subject_for` and `session_for`; whatever comes back from one
is turned with `person_of` and `session_of`.
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
    """Return the identifier behind a `sub` of a verified token of ours: a pairwise one is turned back, any other is itself."""
    return subject.identifier_in(sub, subject.PERSON, runtime.keyring.secret(PAIRWISE_KEY)) or sub


def session_of(runtime: Runtime, sid: str) -> str:
    """Return the session behind a `sid` of a verified ID token of ours."""
    return subject.identifier_in(sid, subject.SESSION, runtime.keyring.secret(PAIRWISE_KEY)) or sid


def is_person(identifier: str, client_id: str, claims: Mapping[str, object]) -> bool:
    """Whether the subject of an access token is a person: neither the client itself nor somebody else's workload."""
    return identifier != client_id and claims.get("subject_kind", "user") == "user"


def is_pairwise(client: Client, claims: Mapping[str, object]) -> bool:
    """Whether an access token of a client names a person as no other client could: by its own name, or one that an exchange kept."""
    return client.subject_type == "pairwise" or "sub" in claims


def shown(runtime: Runtime, client: Client, identifier: str, claims: Mapping[str, object]) -> str:
    """Return the `sub` of an access token for its client, whoever it speaks of; `claims` has one where an exchange kept a name."""
    if not is_person(identifier, client.client_id, claims):
        return identifier
    return str(claims.get("sub") or subject_for(runtime, client, identifier))
