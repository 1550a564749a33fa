"""RFC 7523 §2.1: an outside issuer's assertion becomes a token by trust rules; and what must not become one."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.fixtures.documents import Documents
from tests.fixtures.postgres import Store
from tests.fixtures.servers import Server, basic, open_server, refusal, together
from tests.fixtures.trusted_issuers import (
    CI,
    GRANT,
    JWKS,
    OTHER,
    identity,
    look,
    present,
    prove_and_present,
    register,
    server,
    trust,
)

from watchword.flows.clients import client_registry
from watchword.flows.clients.client_metadata import ClientInput
from watchword.flows.trust import assertions, trust_rules
from watchword.jose import jwk
from watchword.store.database import Transaction

__all__ = ["server"]


NONE = "eyJhbGciOiJub25lIn0."


async def events(server: Server, name: str) -> list[Any]:
    """Return the audit events of a name."""

    async def read(tx: Transaction) -> Any:
        return await tx.all("SELECT actor, target, data FROM events WHERE name = $1", name)

    return [
        (row["actor"], row["target"], json.loads(row["data"]))
        for row in await server.runtime.database.read(read)
    ]


@pytest.mark.parametrize("token_format", ["jwt", "opaque"])
async def test_a_jobs_identity_token_becomes_a_short_lived_scoped_token(
    server: Server, token_format: str
) -> None:
    client, rule = await register(server, access_token_format=token_format), await trust(server)
    metadata = (await server.http.get("/.well-known/oauth-authorization-server")).json()
    assert GRANT in metadata["grant_types_supported"]
    document = (await present(server, client, identity(server), scope="deploy")).json()
    assert (document["scope"], document["expires_in"]) == ("deploy", 600)
    assert "refresh_token" not in document
    claims = await look(server, client, document["access_token"])
    assert (claims["sub"], claims["client_id"]) == ("ci:acme/app", client.client.client_id)
    assert claims["aud"] == server.settings.issuer
    ((actor, target, data),) = await events(server, "assertion.accepted")
    assert (actor, target) == (client.client.client_id, rule.id)
    assert (data["subject"], data["scope"]) == ("ci:acme/app", "deploy")
    await trust_rules.delete(server.runtime, "deploy", actor="test")
    assert await look(server, client, document["access_token"]) == {"active": False}, "the rule is gone"
    assert refusal(await present(server, client, identity(server))) == (400, "invalid_grant")


@pytest.mark.parametrize(("by_rule", "by_client", "expires_in"), [(300, 400, 300), (400, 300, 300)])
async def test_a_token_lives_no_longer_than_its_rule_and_its_client_allow(
    server: Server, by_rule: int, by_client: int, expires_in: int
) -> None:
    client = await register(server, access_token_lifetime=by_client)
    await trust(server, token_lifetime=by_rule)
    document = (await present(server, client, identity(server))).json()
    assert document["expires_in"] == expires_in
    token = document["access_token"]
    assert (await look(server, client, token))["exp"] == int(server.clock()) + expires_in


async def test_a_program_without_a_secret_may_present_it(server: Server) -> None:
    client = await register(server, token_endpoint_auth_method="none")
    await trust(server)
    form = {"client_id": client.client.client_id, "grant_type": GRANT, "assertion": identity(server)}
    assert (await server.http.post("/token", data=form)).status_code == 200


async def test_tk_15_an_assertion_works_once(server: Server) -> None:
    client, other = await register(server), await register(server)
    rule, assertion = await trust(server), identity(server)
    assert (await present(server, client, assertion)).status_code == 200
    assert refusal(await present(server, client, assertion)) == (400, "invalid_grant")
    assert refusal(await present(server, other, assertion)) == (400, "invalid_grant"), "by another client too"
    assert [(actor, target) for actor, target, _ in await events(server, "assertion.replayed")] == [
        (client.client.client_id, rule.id),
        (other.client.client_id, rule.id),
    ]


async def test_tk_15_of_ten_uses_over_two_nodes_one_gets_a_token(store: Store, tmp_path: Path) -> None:
    async with open_server(tmp_path, on=store.address) as one, open_server(tmp_path, on=store.address) as two:
        client = await register(one, access_token_format="opaque")
        await trust(one)
        form = {"grant_type": GRANT, "assertion": identity(one)}
        headers = {"authorization": basic(client)}
        answers = await together(
            *((one, two)[n % 2].http.post("/token", data=form, headers=headers) for n in range(10))
        )
        assert sorted(answer.status_code for answer in answers) == [200] + [400] * 9


WRONG: list[tuple[str, dict[str, Any]]] = [
    ("signed by another key", {"key": OTHER}),
    ("of an unknown issuer", {"iss": "https://evil.example"}),
    ("of nearly the issuer", {"iss": CI + "/"}),
    ("of no issuer", {"iss": None}),
    ("for another audience", {"aud": "https://other.example"}),
    ("for several audiences", {"aud": ["http://localhost", "https://other.example"]}),
    ("for nobody", {"aud": None}),
    ("expired", {"exp": 1_000}),
    ("that lives for a year", {"exp": 2**40}),
    ("that never expires", {"exp": None}),
    ("without jti", {"jti": None}),
    ("with an endless jti", {"jti": "x" * 5000}),
    ("about nobody", {"sub": None}),
    ("of another repository", {"repository": "evil/app"}),
    ("of a repository below", {"repository": "acme/app/../../evil"}),
    ("of another branch", {"ref": "refs/heads/main2"}),
    ("without the claim", {"ref": None}),
    ("whose claim is a number", {"repository": 7}),
    ("that is an access token", {"typ": "at+jwt"}),
    ("that is a proof of possession", {"typ": "dpop+jwt"}),
    ("that is an identity assertion", {"typ": "oauth-id-jag+jwt"}),
]


async def test_tk_15_an_assertion_is_refused(server: Server) -> None:
    client = await register(server)
    await trust(server)
    for refused, (name, changes) in enumerate(WRONG, 1):
        assert (await present(server, client, identity(server))).status_code == 200
        answer = await present(server, client, identity(server, **changes))
        assert refusal(answer) == (400, "invalid_grant"), name
        assert len(await events(server, "assertion.refused")) == refused


async def test_a_client_fills_the_audit_trail_with_refusals_only_so_fast(server: Server) -> None:
    client = await register(server)
    await present(server, client, NONE)
    assert len(await events(server, "assertion.refused")) == 1, "the honest variant"
    while not server.runtime.take(assertions.RECORDED, client.client.client_id):
        pass
    assert refusal(await present(server, client, NONE)) == (400, "invalid_grant")
    assert len(await events(server, "assertion.refused")) == 1
    server.clock.advance(5)
    await present(server, client, NONE)
    assert len(await events(server, "assertion.refused")) == 2


async def test_mc_03_garbage_is_refused(server: Server) -> None:
    client = await register(server)
    await trust(server)
    huge = "eyJ" + "A" * 60_000 + ".e30.x"
    for assertion in ("x", "a.b.c", NONE + "e30.", NONE, "." * 2, "é.é.é", huge, "\x00"):
        answer = await present(server, client, assertion)
        assert answer.status_code == 400, assertion
        assert answer.json()["error"] in ("invalid_grant", "invalid_request")


@pytest.mark.parametrize(
    ("form", "error"),
    [
        ({"scope": "admin"}, "invalid_scope"),
        ({"scope": "read write"}, "invalid_scope"),
        ({"resource": "https://elsewhere.example"}, "invalid_target"),
        ({"authorization_details": '[{"type":"deployment"}]'}, "invalid_authorization_details"),
    ],
)
async def test_more_than_the_rule_gives_is_refused(server: Server, form: dict[str, str], error: str) -> None:
    client = await register(server, scope="deploy read write admin")
    await trust(server)
    assert (await present(server, client, identity(server))).json()["scope"] == "deploy read"
    assert refusal(await present(server, client, identity(server), **form)) == (400, error)


async def test_more_than_the_client_may_have_is_refused(server: Server) -> None:
    narrow, without = await register(server, scope="read"), await register(server, scope="other")
    await trust(server)
    assert (await present(server, narrow, identity(server))).json()["scope"] == "read"
    assert refusal(await present(server, narrow, identity(server), scope="deploy")) == (400, "invalid_scope")
    assert refusal(await present(server, without, identity(server))) == (400, "invalid_scope")


async def test_a_rule_for_some_resources_gives_no_other_of_its_clients(server: Server) -> None:
    here, there = "https://here.example", "https://there.example"
    client = await register(server, resources=[here, there])
    await trust(server, resources=[here])
    granted = await present(server, client, identity(server))
    assert (await look(server, client, granted.json()["access_token"]))["aud"] == here
    elsewhere = await present(server, client, identity(server), resource=there)
    assert refusal(elsewhere) == (400, "invalid_target")


async def test_a_rule_may_be_for_some_clients_only(server: Server) -> None:
    mine, other = await register(server), await register(server)
    await trust(server, clients=[mine.client.client_id])
    assert (await present(server, mine, identity(server))).status_code == 200
    assert refusal(await present(server, other, identity(server))) == (400, "invalid_grant")


async def test_no_rule_is_satisfied_with_the_keys_of_another(server: Server) -> None:
    client = await register(server, scope="deploy read publish")
    await trust(server)
    weak = {"keys": [jwk.public_document(OTHER)]}
    await trust(server, name="weak", scope="read", jwks=weak, claims={"repository": "acme/*"})
    assert (await present(server, client, identity(server))).json()["scope"] == "deploy read"
    signed_by_weak = await present(server, client, identity(server, key=OTHER))
    assert signed_by_weak.json()["scope"] == "read"


async def test_keys_out_of_reach_keep_no_other_rule_from_accepting(
    server: Server, documents: Documents
) -> None:
    client, issuer = await register(server), documents.base
    await trust(server, name="former", issuer=issuer, jwks=None, jwks_uri=issuer + "/former")
    await trust(server, name="given", issuer=issuer)
    documents.publish("/former", b"out of order", status=503)
    assert (await present(server, client, identity(server, iss=issuer))).status_code == 200
    perhaps_its = await present(server, client, identity(server, iss=issuer, key=OTHER))
    assert refusal(perhaps_its) == (503, "temporarily_unavailable")


async def test_keys_come_from_the_issuers_own_metadata(server: Server, documents: Documents) -> None:
    client = await register(server)
    issuer = documents.base
    documents.publish("/jwks", JWKS)
    discovery = "/.well-known/openid-configuration"
    documents.publish(discovery, {"issuer": issuer, "jwks_uri": issuer + "/jwks"})
    await trust(server, issuer=issuer, jwks=None)
    for _ in range(3):
        assert (await present(server, client, identity(server, iss=issuer))).status_code == 200
    assert documents.asked == {discovery: 1, "/jwks": 1}
    documents.publish("/jwks", {"keys": [jwk.public_document(OTHER)]})
    server.clock.advance(61)
    answer = await present(server, client, identity(server, iss=issuer, key=OTHER))
    assert answer.status_code == 200, "a rotation is noticed"
    refused = [await present(server, client, identity(server, iss=issuer)) for _ in range(5)]
    assert {answer.status_code for answer in refused} == {400}
    assert documents.asked["/jwks"] == 2, "an unknown key is looked for once a minute at most"


async def test_an_issuer_out_of_reach_is_believed_by_its_last_keys_and_a_new_key_is_not_called_bad(
    server: Server, documents: Documents
) -> None:
    client, issuer = await register(server), documents.base
    documents.publish("/jwks", JWKS)
    await trust(server, issuer=issuer, jwks=None, jwks_uri=issuer + "/jwks")
    assert (await present(server, client, identity(server, iss=issuer))).status_code == 200
    documents.publish("/jwks", b"out of order", status=503)
    server.clock.advance(601)
    assert (await present(server, client, identity(server, iss=issuer))).status_code == 200
    new = await present(server, client, identity(server, iss=issuer, key=OTHER))
    assert refusal(new) == (503, "temporarily_unavailable")
    documents.publish("/jwks", b"gone", status=404)
    server.clock.advance(601)
    for _ in range(2):
        known = await present(server, client, identity(server, iss=issuer))
        assert refusal(known) == (503, "temporarily_unavailable"), "it answers, and not with these keys"
    documents.publish("/jwks", b"out of order", status=503)
    server.clock.advance(31)
    known = await present(server, client, identity(server, iss=issuer))
    assert refusal(known) == (503, "temporarily_unavailable"), "it gave them up before it was out of reach"
    documents.publish("/jwks", {"keys": [*JWKS["keys"], jwk.public_document(OTHER)]})
    server.clock.advance(601)
    assert (await present(server, client, identity(server, iss=issuer, key=OTHER))).status_code == 200
    third = jwk.generate("ES256", "third")
    documents.publish("/jwks", {"keys": [jwk.public_document(third)]})
    server.clock.advance(-3600)
    set_back = await present(server, client, identity(server, iss=issuer, key=third))
    assert set_back.status_code == 200, "what is kept lasts no longer by a clock that was set back"


@pytest.mark.parametrize(
    "metadata",
    [
        {"issuer": "https://other.example", "jwks_uri": "{base}/jwks"},
        {"issuer": "{base}"},
        {"issuer": "{base}", "jwks_uri": 7},
        {"issuer": "{base}", "jwks_uri": "file:///etc/passwd"},
        {"issuer": "{base}", "jwks_uri": "http://10.0.0.1/jwks"},
        ["no object"],
    ],
    ids=["of another issuer", "without keys", "no address", "a file", "a private network", "no object"],
)
async def test_metadata_that_cannot_be_trusted_give_no_keys(
    server: Server, documents: Documents, metadata: Any
) -> None:
    client = await register(server)
    await trust(server)
    assert (await present(server, client, identity(server))).status_code == 200
    documents.publish("/jwks", JWKS)
    text = json.dumps(metadata).replace("{base}", documents.base)
    documents.publish("/.well-known/openid-configuration", text.encode())
    await trust(server, name="fetched", issuer=documents.base, jwks=None)
    answer = await present(server, client, identity(server, iss=documents.base))
    assert refusal(answer) == (503, "temporarily_unavailable")
    assert documents.asked["/jwks"] == 0


async def test_nothing_is_fetched_for_an_issuer_that_nobody_trusts(
    server: Server, documents: Documents
) -> None:
    client = await register(server)
    await trust(server)
    answer = await present(server, client, identity(server, iss=documents.base))
    assert refusal(answer) == (400, "invalid_grant")
    assert not documents.asked


async def test_an_assertion_that_is_bound_to_a_key_is_for_its_holder(server: Server) -> None:
    client, key = await register(server), jwk.generate("ES256")
    await trust(server)
    bound = identity(server, cnf={"jkt": key.thumbprint})
    assert refusal(await present(server, client, bound)) == (400, "invalid_grant")
    assert refusal(await prove_and_present(server, client, bound, jwk.generate("ES256"))) == (
        400,
        "invalid_grant",
    )
    assert (await prove_and_present(server, client, bound, key)).json()["token_type"] == "DPoP"


async def test_no_outside_issuer_names_a_client_whose_identifier_was_chosen(server: Server) -> None:
    client, billing = await register(server), ClientInput(name="billing", scope="deploy")
    await client_registry.register(server.runtime, billing, actor="test", client_id="svc:billing")
    await trust(server, subject="svc:{job}")
    shipping = (await present(server, client, identity(server, job="shipping"))).json()
    assert (await look(server, client, shipping["access_token"]))["sub"] == "svc:shipping"
    assert refusal(await present(server, client, identity(server, job="billing"))) == (400, "invalid_grant")
