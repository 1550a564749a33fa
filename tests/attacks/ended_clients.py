"""Tokens, clients and trust rules that end on one node, and how another is asked about them."""

import json
import os
from collections.abc import Awaitable, Callable

import msgspec
from tests.attacks.client_authentication import FORM, by_key
from tests.attacks.pairs import Pair
from tests.attacks.taken import BY, RESOURCE, Case, active, answered, change, granted
from tests.fixtures import trusted_issuers
from tests.fixtures.code_flow import REDIRECT, register, request

from watchword.flows import api_tokens
from watchword.flows.client_auth import ASSERTION_TYPE
from watchword.flows.clients import client_documents, client_registry
from watchword.flows.clients.client_registry import Registered
from watchword.flows.trust import trust_rules
from watchword.jose import jwk, jwt
from watchword.store import document_clients


def revoked_token(token_format: str) -> Callable[[Pair], Awaitable[Case]]:
    async def make(pair: Pair) -> Case:
        a, b = pair
        client = await a.client(access_token_format=token_format, scope="introspect")
        token = (await a.grant(client)).json()["access_token"]
        return Case(active(b, client, token), lambda: a.post("/revoke", client, token=token))

    return make


async def a_revoked_api_token(pair: Pair) -> Case:
    a, b = pair
    made = await a.token()
    return Case(
        answered(b, "/api/v1/tokens/self", made.secret),
        lambda: api_tokens.revoke(a.runtime, made.token.id, actor=BY),
    )


async def a_replaced_secret_of_an_api_token(pair: Pair) -> Case:
    a, b = pair
    made = await a.token()
    return Case(
        answered(b, "/api/v1/tokens/self", made.secret),
        lambda: api_tokens.rotate(a.runtime, made.token.id, overlap=0, actor=BY),
    )


async def a_token_made_of_a_revoked_one(pair: Pair) -> Case:
    a, b = pair
    client = await a.client(grant_types=["token_exchange"], scope="introspect orders:read")
    parent = await a.token()
    form = {
        "subject_token": parent.secret,
        "subject_token_type": "urn:ietf:params:oauth:token-type:access_token",
    }
    answer = await a.post(
        "/token", client, grant_type="urn:ietf:params:oauth:grant-type:token-exchange", **form
    )
    return Case(
        active(b, client, answer.json()["access_token"]),
        lambda: api_tokens.revoke(a.runtime, parent.token.id, actor=BY),
    )


async def a_disabled_client(pair: Pair) -> Case:
    a, b = pair
    client = await a.client()
    return Case(granted(b, client), lambda: change(a, client, disabled=True))


async def a_deleted_client(pair: Pair) -> Case:
    a, b = pair
    client = await a.client()
    name = client.client.client_id
    return Case(granted(b, client), lambda: client_registry.delete(a.runtime, name, actor=BY))


async def a_removed_secret(pair: Pair) -> Case:
    a, b = pair
    client = await a.client()
    name, secret = client.client.client_id, client.client_secret_id or ""
    return Case(granted(b, client), lambda: client_registry.remove_secret(a.runtime, name, secret, actor=BY))


async def a_replaced_secret(pair: Pair) -> Case:
    a, b = pair
    client = await a.client()
    name = client.client.client_id
    return Case(granted(b, client), lambda: client_registry.add_secret(a.runtime, name, overlap=0, actor=BY))


async def a_scope_of_a_client(pair: Pair) -> Case:
    a, b = pair
    client = await a.client()
    return Case(granted(b, client, scope="orders:write"), lambda: change(a, client, scope="orders:read"))


async def the_right_to_introspect(pair: Pair) -> Case:
    a, b = pair
    api, client = (
        await a.client(scope="introspect", resources=[RESOURCE]),
        await a.client(resources=[RESOURCE]),
    )
    token = (await a.grant(client)).json()["access_token"]
    return Case(active(b, api, token), lambda: change(a, api, scope="orders:read"))


async def a_replaced_public_key(pair: Pair) -> Case:
    a, b = pair
    key, other = jwk.generate("ES256", "k1"), jwk.generate("ES256", "k2")
    client = await by_key(a, key)
    name = client.client.client_id

    async def is_granted() -> bool:
        now = int(b.clock())
        said = {
            "iss": name,
            "sub": name,
            "aud": b.settings.issuer,
            "jti": os.urandom(8).hex(),
            "exp": now + 60,
        }
        form = {**FORM, "client_assertion_type": ASSERTION_TYPE, "client_assertion": jwt.encode(key, said)}
        return (await b.http.post("/token", data=form)).status_code == 200

    keys = {"keys": [jwk.public_document(other)]}
    return Case(is_granted, lambda: change(a, client, jwks=keys))


async def a_redirect_uri(pair: Pair) -> Case:
    a, b = pair
    client = await register(a)

    async def is_sent_to_sign_in() -> bool:
        return (await b.http.get("/authorize", params=request(client))).status_code == 303

    other = ["https://elsewhere.example.com/cb"]
    return Case(is_sent_to_sign_in, lambda: change(a, client, redirect_uris=other))


async def a_client_known_by_its_document(pair: Pair) -> Case:
    a, b = pair
    address = "https://wandering.example/client"
    said = {"client_id": address, "redirect_uris": [REDIRECT], "token_endpoint_auth_method": "none"}
    client = client_documents.check_document(a.settings, address, json.dumps(said).encode())
    now = a.runtime.now()
    await a.runtime.database.write(document_clients.keep_reading, client, fresh_until=now + 3600, now=now)
    found = Registered(client, None, None)

    async def is_sent_to_sign_in() -> bool:
        return (await b.http.get("/authorize", params=request(found))).status_code == 303

    return Case(is_sent_to_sign_in, lambda: change(a, found, disabled=True))


async def a_registration(pair: Pair) -> Case:
    a, b = pair
    made = (await a.http.post("/register", json={"redirect_uris": ["https://app.example.com/cb"]})).json()
    path, token = f"/register/{made['client_id']}", made["registration_access_token"]
    return Case(
        answered(b, path, token), lambda: client_registry.delete(a.runtime, made["client_id"], actor=BY)
    )


async def a_rule_of_trust(pair: Pair) -> Case:
    a, b = pair
    client, rule = await trusted_issuers.register(a), await trusted_issuers.trust(a)

    async def is_trusted() -> bool:
        answer = await trusted_issuers.present(b, client, trusted_issuers.identity(b))
        return answer.status_code == 200

    return Case(is_trusted, lambda: trust_rules.delete(a.runtime, rule.id, actor=BY))


async def what_a_rule_of_trust_asks_for(pair: Pair) -> Case:
    a, b = pair
    issuer = "https://ci.elsewhere.example"
    client, rule = (
        await trusted_issuers.register(a),
        await trusted_issuers.trust(a, name="edited", issuer=issuer),
    )
    narrower = msgspec.structs.replace(
        trust_rules.to_input(a.runtime, rule), claims={"repository": "acme/*", "ref": "refs/heads/release"}
    )

    async def is_trusted() -> bool:
        answer = await trusted_issuers.present(b, client, trusted_issuers.identity(b, iss=issuer))
        return answer.status_code == 200

    return Case(is_trusted, lambda: trust_rules.replace(a.runtime, rule, narrower, actor=BY))
