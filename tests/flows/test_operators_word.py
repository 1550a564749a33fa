"""What an operator says of a client that came by itself stays when the client speaks for itself again."""

from pathlib import Path
from typing import Any

import msgspec
from tests.fixtures.code_flow import answer_of
from tests.fixtures.documents import Documents
from tests.fixtures.registering import HONEST, bearer, path_of, register
from tests.fixtures.registering import server as registering
from tests.fixtures.servers import Server, open_server
from tests.flows.test_client_documents import begin, consent_of, server

from watchword.flows.clients import client_documents, client_metadata, client_registry, stated_clients
from watchword.flows.registration import METHODS
from watchword.flows.runtime import Runtime
from watchword.jose import jwk
from watchword.oauth import fapi
from watchword.oauth.clients import OPERATORS, ExchangeRules
from watchword.settings import Settings
from watchword.store.document_clients import keep_reading

__all__ = ["registering", "server"]

EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"


async def say(runtime: Runtime, client_id: str, **said: Any) -> None:
    """Change a client as an administrator, by the fields of ClientInput."""
    client = await client_registry.find(runtime, client_id)
    assert client is not None
    wished = msgspec.structs.replace(client_metadata.to_input(client), **said)
    await client_registry.change(runtime, client_id, wished, expected_version=None, actor="test")


async def test_what_an_operator_said_of_a_client_stays_when_it_replaces_its_registration(
    registering: Server,
) -> None:
    server = registering
    named = HONEST | {
        "token_endpoint_auth_method": "private_key_jwt",
        "jwks": {"keys": [jwk.public_document(jwk.generate("ES256"))]},
    }
    registered = (await register(server, **named)).json()
    client_id = registered["client_id"]
    path, headers = path_of(registered), bearer(registered)
    said: dict[str, Any] = {
        "groups": ("staff",),
        "access_token_format": "opaque",
        "access_token_lifetime": 60,
        "access_token_status": True,
        "security_profile": "fapi2",
    }
    assert {*said, "token_exchange"} == {*OPERATORS}
    await say(server.runtime, client_id, **said)
    wanted = named | {"client_id": client_id}
    renamed = await server.http.put(path, json=wanted | {"client_name": "Renamed"}, headers=headers)
    assert (renamed.status_code, renamed.json()["client_name"]) == (200, "Renamed"), renamed.text
    refused = await server.http.put(
        path, json=wanted | {"token_endpoint_auth_method": "none"}, headers=headers
    )
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_client_metadata")
    found = await client_registry.find(server.runtime, client_id)
    assert found is not None
    assert {name: getattr(found, name) for name in said} == said
    assert (found.require_pushed_authorization_requests, found.dpop_bound_access_tokens) == (True, True)


def test_no_default_contradicts_the_profile_that_an_operator_chose() -> None:
    """OpenID Connect Registration §2 signs with RS256 where nothing else is said; FAPI 2.0 §5.4.1 has none."""
    settings = Settings(signing_algorithms=("ES256", "RS256"))
    keys = {"keys": [jwk.public_document(jwk.generate("ES256"))]}
    named = HONEST | {"token_endpoint_auth_method": "private_key_jwt", "jwks": keys}
    given: dict[str, Any] = {"origin": "dynamic", "methods": METHODS, "fallback_name": "x"}
    first = stated_clients.read(settings, named, "client_x", **given)
    assert first.id_token_signed_response_alg == "RS256", "the honest variant"
    known = msgspec.structs.replace(first, security_profile="fapi2")
    again = stated_clients.read(settings, named, "client_x", known=known, **given)
    assert again.id_token_signed_response_alg is None
    fapi.check_signing(again, settings.signing_algorithms)


async def test_rules_of_exchange_last_as_long_as_the_client_may_exchange(tmp_path: Path) -> None:
    grants = ("authorization_code", EXCHANGE)
    async with open_server(tmp_path, registration="open", self_registered_grants=grants) as server:
        named = HONEST | {"token_endpoint_auth_method": "client_secret_post", "grant_types": [*grants]}
        registered = (await register(server, **named)).json()
        rules = ExchangeRules(serves=("https://a.example",), max_lifetime=60)
        await say(server.runtime, registered["client_id"], token_exchange=rules)
        for grant_types, kept in ((grants, rules), (grants[:1], None), (grants, None)):
            wanted = named | {"client_id": registered["client_id"], "grant_types": [*grant_types]}
            answer = await server.http.put(path_of(registered), json=wanted, headers=bearer(registered))
            assert answer.status_code == 200, answer.text
            found = await client_registry.find(server.runtime, registered["client_id"])
            assert found is not None
            assert found.token_exchange == kept, grant_types


async def test_what_a_document_says_next_lifts_nothing_that_an_operator_said_of_the_client(
    server: Server, documents: Documents
) -> None:
    client_id = documents.describe()
    assert 'name="interaction"' in (await consent_of(server, client_id)).text, "the honest variant"
    said: dict[str, Any] = {
        "groups": ("staff",),
        "access_token_format": "opaque",
        "access_token_lifetime": 60,
    }
    await say(server.runtime, client_id, **said)
    for name in ("as it was", "changed"):
        documents.describe(**({"client_name": name} if name == "changed" else {}))
        server.clock.advance(301)
        assert answer_of(await begin(server, client_id))["error"] == "access_denied", name
    found = await client_registry.find(server.runtime, client_id)
    assert found is not None
    assert {name: getattr(found, name) for name in said} == said
    assert found.name == "changed"


async def test_a_document_has_to_agree_with_the_profile_that_an_operator_chose(
    server: Server, documents: Documents
) -> None:
    keys = {"keys": [jwk.public_document(jwk.generate("ES256"))]}
    honest = {"token_endpoint_auth_method": "private_key_jwt", "jwks": keys}
    client_id = documents.describe(**honest)
    assert (await begin(server, client_id)).status_code == 303
    await say(server.runtime, client_id, security_profile="fapi2")
    for changes, known in ((honest, True), ({}, False), (honest, True)):
        documents.describe(**changes)
        server.clock.advance(301)
        found = await client_documents.find(server.runtime, client_id)
        assert (found is not None) is known, changes
        assert found is None or (found.security_profile, found.dpop_bound_access_tokens) == ("fapi2", True)


async def test_what_an_operator_says_while_a_document_is_read_is_not_lost(
    server: Server, documents: Documents
) -> None:
    client_id = documents.describe()
    before = await client_documents.find(server.runtime, client_id)
    assert before is not None
    await say(server.runtime, client_id, groups=("staff",))
    late = msgspec.structs.replace(before, name="read before")
    now = server.runtime.now()
    kept = await server.runtime.database.write(
        keep_reading, late, known=before, fresh_until=now + 9000, now=now
    )
    assert kept is not None
    assert (kept.client.groups, kept.client.name) == (("staff",), before.name)
    assert kept.fresh_until < now + 9000, "so it is read again"
