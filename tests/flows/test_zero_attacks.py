"""Zero-knowledge identities under attack: replayed, relayed, revoked, expired, guessed, of a stranger."""

import json
import os
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs
from tests.fixtures.accounts import another, make
from tests.fixtures.holders import (
    ASSERTION,
    GRANT,
    Holder,
    dpop,
    make_holder,
    make_user,
    new_secret,
    public_client,
    refused,
    token,
)
from tests.fixtures.people import Person
from tests.fixtures.rows import in_turn
from tests.fixtures.servers import Server, basic, open_server, together
from tests.flows.conftest import Stored

from watchword import jobs
from watchword.credentials.zkproof import ZeroError
from watchword.flows import identities
from watchword.flows.users import account_changes
from watchword.jose import jwk
from watchword.oauth.errors import OAuthError
from watchword.store import identities as store
from watchword.store import users
from watchword.zero import identity, revocation
from watchword.zero.proof import dpop_channel
from watchword.zero.records import Challenge, Identity, Proof, Secret, to_json


async def test_attack_replay(server: Server) -> None:
    holder = await make_holder(server)
    proof = holder.answer(await holder.challenge("sign-in"))
    assert not await refused(holder, proof)
    assert await refused(holder, proof)
    server.clock.advance(identities.CHALLENGE_LIFETIME + identities.LEEWAY - 1)
    await jobs.housekeeping(server.runtime)
    with pytest.raises(ZeroError) as caught:
        await identities.check_proof(server.runtime, proof, "sign-in", None)
    assert caught.value.reason == "replayed", "as long as its challenge could be answered"


async def test_attack_of_twenty_at_once_with_one_proof_wins_once(server: Server) -> None:
    holder = await make_holder(server)
    proof = holder.answer(await holder.challenge("sign-in"))
    answers = await together(*(holder.sign_in(proof) for _ in range(20)))
    assert sorted(answer.status_code for answer in answers) == [200] + [400] * 19


async def test_attack_relay_to_another_channel(server: Server) -> None:
    holder, client_id, key = await make_holder(server), await public_client(server), jwk.generate("ES256")
    assert (await token(holder, client_id, key)).status_code == 200
    thief = jwk.generate("ES256")
    relayed = await token(holder, client_id, thief, channel_key=key)
    assert (relayed.status_code, relayed.json()["error"]) == (400, "invalid_grant")
    for channel in (dpop_channel(key.thumbprint), None):
        proof = json.dumps(to_json(holder.answer(await holder.challenge("token"), channel)))
        form = {"grant_type": GRANT, "client_id": client_id, "proof": proof}
        unbound = await server.http.post("/token", data=form)
        assert (unbound.status_code, unbound.json()["error"]) == (400, "invalid_dpop_proof")


async def test_attack_taking_what_no_person_can_grant_by_a_proof(server: Server) -> None:
    client = await server.client(
        scope="orders:read watchword:admin introspect",
        grant_types=["zero_proof"],
        resources=["https://orders.example"],
    )
    holder, key = await make_holder(server), jwk.generate("ES256")

    async def asked(**more: str) -> dict[str, str]:
        proof = holder.answer(await holder.challenge("token"), dpop_channel(key.thumbprint))
        form = {"grant_type": GRANT, "proof": json.dumps(to_json(proof)), **more}
        headers = {"authorization": basic(client), **dpop(server, key)}
        answer: dict[str, str] = (await server.http.post("/token", data=form, headers=headers)).json()
        return answer

    for more in ({}, {"scope": "orders:read"}, {"resource": "https://orders.example"}):
        assert (await asked(**more))["scope"] == "orders:read"
    for scope in ("watchword:admin", "introspect", "orders:write"):
        assert (await asked(scope=scope))["error"] == "invalid_scope"
    details = '[{"type": "payment"}]'
    assert (await asked(authorization_details=details))["error"] == "invalid_authorization_details"
    assert (await asked(resource="https://other.example"))["error"] == "invalid_target"


async def test_lg_06_guessing_at_the_token_endpoint_is_throttled(server: Server) -> None:
    holder, client_id, key = await make_holder(server), await public_client(server), jwk.generate("ES256")
    form = {"grant_type": GRANT, "client_id": client_id, "proof": "{}"}
    errors = [
        (await server.http.post("/token", data=form, headers=dpop(server, key))).json()["error"]
        for _ in range(125)
    ]
    assert set(errors[:100]) == {"invalid_grant"}
    assert errors[-1] == "too_many_requests"
    assert (await token(holder, client_id, key)).status_code == 200, "who can prove it is never shut out"


@pytest.mark.parametrize("path", ["/token", "/introspect", "/revoke", "/par"])
async def test_attack_relaying_a_clients_proof_with_its_key_named_but_not_held(
    server: Server, path: str
) -> None:
    registered = await server.client(token_endpoint_auth_method="zero_proof", scope="introspect orders:read")
    client_id, key, thief = registered.client.client_id, jwk.generate("ES256"), jwk.generate("ES256")
    holder = await make_holder(server, ("client", client_id))
    form = {
        "grant_type": "client_credentials",
        "token": "anything",
        "client_id": client_id,
        "client_assertion_type": ASSERTION,
    }
    honest, forged = dpop(server, key, path)["dpop"], dpop(server, thief, path)["dpop"]
    # The header names the holder's key; signature and claims are the thief's.
    relayed = honest.split(".")[0] + "." + ".".join(forged.split(".")[1:])
    other = dpop(server, key, "/elsewhere")["dpop"]
    for header, accepted in ((relayed, False), (other, False), (honest, True)):
        proof = holder.answer(await holder.challenge("client"), dpop_channel(key.thumbprint))
        body = form | {"client_assertion": json.dumps(to_json(proof))}
        answer = await server.http.post(path, data=body, headers={"dpop": header})
        failed = answer.json().get("error") if answer.content else None
        assert (failed in ("invalid_client", "invalid_dpop_proof")) is not accepted, answer.text


async def test_attack_with_the_identity_of_another_client(server: Server) -> None:
    mine, other = [
        (await server.client(token_endpoint_auth_method="zero_proof")).client.client_id for _ in range(2)
    ]
    holder, person = await make_holder(server, ("client", mine)), await make_holder(server)
    key = jwk.generate("ES256")
    for who, client_id, header, status in (
        (holder, mine, dpop(server, key), 200),
        (holder, other, dpop(server, key), 401),
        (person, mine, dpop(server, key), 401),
        (holder, mine, {}, 401),
    ):
        proof = who.answer(await who.challenge("client"), dpop_channel(key.thumbprint))
        form = {
            "grant_type": "client_credentials",
            "client_id": client_id,
            "client_assertion_type": ASSERTION,
            "client_assertion": json.dumps(to_json(proof)),
        }
        assert (await server.http.post("/token", data=form, headers=header)).status_code == status


async def test_attack_signing_in_as_a_person_with_the_identity_of_a_client(server: Server) -> None:
    person = await make_holder(server)
    assert not await refused(person, person.answer(await person.challenge("sign-in")))
    registered = await server.client(token_endpoint_auth_method="zero_proof")
    client = await make_holder(server, ("client", registered.client.client_id))
    assert await refused(client, client.answer(await client.challenge("sign-in")))
    user = await server.runtime.database.read(users.get_user, person.owner_id)
    assert user is not None
    await account_changes.set_disabled(server.runtime, user, True, actor="test")
    assert await refused(person, person.answer(await person.challenge("sign-in")))


async def test_lg_06_failed_sign_ins_are_throttled_and_honest_ones_never(server: Server) -> None:
    holder = await make_holder(server)
    wrong = holder.answer(identities.make_challenge(server.runtime, "token"))
    statuses = [(await holder.sign_in(wrong)).status_code for _ in range(125)]
    assert (statuses[0], statuses[-1]) == (400, 429)
    assert not await refused(holder, holder.answer(await holder.challenge("sign-in")))


@pytest.mark.parametrize("path", ["/zero/renew", "/zero/revoke"])
async def test_lg_06_failed_statements_are_throttled_and_honest_ones_never(server: Server, path: str) -> None:
    holder, expires = await make_holder(server), int(server.clock()) + 10 * 86_400
    stranger, unknown = new_secret(server)

    def statement(secret: Secret, document: Identity, days: int) -> dict[str, object]:
        now = int(server.clock())
        if path == "/zero/revoke":
            return to_json(revocation.revoke(secret, now, "compromised", os.urandom(32)))
        return to_json(identity.renew(document, secret, now, expires + days * 86_400, os.urandom(32)))

    sent = [statement(stranger, unknown, 1)] * 125
    statuses = [(await server.http.post(path, json=one)).status_code for one in sent]
    assert (statuses[0], statuses[-1]) == (400, 429)
    good = statement(holder.secret, holder.document, 1)
    assert (await server.http.post(path, json=good)).status_code < 300, (
        "others cannot keep it from its holder"
    )


@pytest.mark.parametrize("change", ["purpose", "verifier", "challenge", "time", "expired", "tampered"])
async def test_attack_with_what_the_proof_is_bound_to(server: Server, change: str) -> None:
    holder = await make_holder(server)
    assert not await refused(holder, holder.answer(await holder.challenge("sign-in")))
    asked = await holder.challenge("token" if change == "purpose" else "sign-in")
    fields: dict[str, Any] = {name: getattr(asked, name) for name in Challenge.__struct_fields__}
    if change == "purpose":
        fields["purpose"] = "sign-in"
    elif change == "verifier":
        fields["verifier"] = "https://evil.example"
    elif change == "challenge":
        fields["challenge"] = os.urandom(56)
    elif change == "time":
        fields["expires"] = asked.expires + 3600
    proof = holder.answer(Challenge(**fields))
    if change == "tampered":
        values = {name: getattr(proof, name) for name in Proof.__struct_fields__}
        proof = Proof(**values | {"response": bytes([values["response"][0] ^ 1]) + values["response"][1:]})
    if change in ("time", "expired"):
        server.clock.advance(126)
    assert await refused(holder, proof)


@pytest.mark.parametrize(("moved", "good"), [(-6, False), (-5, True), (124, True), (125, False)])
async def test_attack_with_a_challenge_from_another_time(server: Server, moved: int, good: bool) -> None:
    holder = await make_holder(server)
    asked = await holder.challenge("sign-in")
    fields = {name: getattr(asked, name) for name in Challenge.__struct_fields__}
    server.clock.advance(moved)
    late = holder.answer(Challenge(**fields | {"expires": asked.expires + 3600}))
    assert bool(await refused(holder, late)) is not good


async def test_attack_renewing_or_revoking_the_identity_of_another(server: Server) -> None:
    holder, now = await make_holder(server), int(server.clock())
    stranger, unknown = new_secret(server)
    point, later = holder.document.public, now + 10 * 86_400
    renewed = identity.renew(holder.document, holder.secret, now, later, os.urandom(32))
    theirs = identity.renew(unknown, stranger, now, later, os.urandom(32))
    revoked = revocation.revoke(stranger, now, "compromised", os.urandom(32))
    own = revocation.revoke(holder.secret, now, "retired", os.urandom(32))
    for path, forged in (
        ("/zero/renew", structs.replace(renewed, expires=later + 1)),
        ("/zero/renew", structs.replace(theirs, public=point)),
        ("/zero/revoke", structs.replace(revoked, public=point)),
        ("/zero/revoke", structs.replace(own, reason="compromised")),
    ):
        assert (await server.http.post(path, json=to_json(forged))).status_code == 400
    assert not await refused(holder, holder.answer(await holder.challenge("sign-in")))
    for path, honest in (("/zero/renew", renewed), ("/zero/revoke", own)):
        assert (await server.http.post(path, json=to_json(honest))).status_code < 300


async def test_attack_with_a_revoked_identity(server: Server) -> None:
    holder = await make_holder(server)
    assert not await refused(holder, holder.answer(await holder.challenge("sign-in")))
    statement = revocation.revoke(holder.secret, int(server.clock()), "compromised", os.urandom(32))
    assert (await server.http.post("/zero/revoke", json=to_json(statement))).status_code == 204
    assert await refused(holder, holder.answer(await holder.challenge("sign-in")))


@pytest.mark.parametrize(
    ("step", "error"), [("check_proof", "invalid_grant"), ("needs_second_factor", "access_denied")]
)
async def test_attack_with_an_identity_that_is_revoked_while_its_proof_is_checked(
    server: Server, monkeypatch: pytest.MonkeyPatch, step: str, error: str
) -> None:
    holder = await make_holder(server)
    assert not await refused(holder, holder.answer(await holder.challenge("sign-in")))
    statement = revocation.revoke(holder.secret, int(server.clock()), "compromised", os.urandom(32))
    check = getattr(identities, step)

    async def revoked_just_now(*given: Any) -> Any:
        found = await check(*given)
        assert (await server.http.post("/zero/revoke", json=to_json(statement))).status_code == 204
        return found

    monkeypatch.setattr(identities, step, revoked_just_now)
    answer = await holder.sign_in(holder.answer(await holder.challenge("sign-in")))
    assert (answer.status_code, answer.json()["error"]) == (400, error)
    assert "set-cookie" not in answer.headers


async def test_attack_with_an_expired_identity(server: Server) -> None:
    holder = await make_holder(server)
    assert not await refused(holder, holder.answer(await holder.challenge("sign-in")))
    server.clock.advance(86_400 - 1)
    assert not await refused(holder, holder.answer(await holder.challenge("sign-in"))), "its last second"
    server.clock.advance(1)
    proof = holder.answer(await holder.challenge("sign-in"))
    with pytest.raises(ZeroError) as caught:
        await identities.check_proof(server.runtime, proof, "sign-in", None)
    assert caught.value.reason == "expired", "as the log says to whoever asks why"
    assert await refused(holder, holder.answer(await holder.challenge("sign-in")))


async def test_attack_with_the_identity_of_a_stranger(server: Server) -> None:
    holder = await make_holder(server)
    secret, document = new_secret(server)
    stranger = Holder(server, secret, document, "")
    assert not await refused(holder, holder.answer(await holder.challenge("sign-in")))
    assert await refused(stranger, stranger.answer(await stranger.challenge("sign-in")))


async def test_attack_registering_the_identity_of_another(server: Server) -> None:
    victim = await make_holder(server)
    thief = await make_user(server, "mallory")
    purpose = identities.register_purpose(thief.id)
    stolen = victim.answer(
        identities.make_challenge(server.runtime, identities.register_purpose(victim.owner_id))
    )
    mine = identities.make_challenge(server.runtime, identities.register_purpose(victim.owner_id))
    secret, document = new_secret(server)
    proof = Holder(server, secret, document, "").answer(mine)
    register = partial(
        identities.register, server.runtime, document, owner=("user", victim.owner_id), name="x", actor="test"
    )
    await register(given=proof)
    with pytest.raises(OAuthError, match="conflict"):
        await register(given=proof)
    for given in (stolen, None):
        with pytest.raises(Exception, match=r"challenge|registered"):
            await identities.register(
                server.runtime, victim.document, owner=("user", thief.id), name="x", actor="test", given=given
            )
    assert purpose != identities.register_purpose(victim.owner_id)


async def test_attack_from_a_page_of_another_site(server: Server) -> None:
    holder = await make_holder(server)
    proof = holder.answer(await holder.challenge("sign-in"))
    headers = {"origin": "https://evil.example", "sec-fetch-site": "cross-site"}
    forged = await server.http.post("/zero/sign-in", json=to_json(proof), headers=headers)
    assert forged.status_code == 400
    assert "set-cookie" not in forged.headers
    assert not await refused(holder, proof)


@in_turn(
    "body",
    [b"", b"[]", b"{}", b"null", b'{"type":"proof"}', b"[" * 50_000, b'{"a":"\\ud800"}', b"\xff\xfe"],
    ids=repr,
)
@in_turn("path", ["/zero/challenge", "/zero/sign-in", "/zero/renew", "/zero/revoke"])
async def test_attack_with_what_is_no_document(server: Server, path: str, body: bytes) -> None:
    headers = {"content-type": "application/json"}
    answer = await server.http.post(path, content=body, headers=headers)
    assert 400 <= answer.status_code < 500


async def test_a_leaked_database_lets_nobody_sign_in(server: Server, stored: Stored) -> None:
    holder = await make_holder(server)
    assert not await refused(holder, holder.answer(await holder.challenge("sign-in")))
    kept = stored()
    assert identity.identity_id(holder.document.public).encode() in kept
    assert holder.secret.seed not in kept
    assert holder.secret.seed.hex().encode() not in kept


@pytest.mark.parametrize("taken", [True, False])
async def test_where_no_identity_signs_people_in_none_does_anywhere(tmp_path: Path, taken: bool) -> None:
    ways = ("password", "identity") if taken else ("password",)
    async with open_server(tmp_path, mode="development", sign_in_methods=ways) as server:
        ada = await make(server)
        holder, key = await make_holder(server, ("user", ada.id)), jwk.generate("ES256")
        by_program = await holder.sign_in(holder.answer(await holder.challenge("sign-in")))
        granted = await token(holder, await public_client(server), key)
        person = Person(server, another(server))
        await person.sign_in()
        pages = [
            (await person.http.get(page)).status_code for page in ("/sign-in/identity", "/account/identities")
        ]
        secret, document = new_secret(server)
        challenge = identities.make_challenge(server.runtime, identities.register_purpose(ada.id))
        proof = Holder(server, secret, document, ada.id).answer(challenge)
        await person.open("/account")
        form = {
            "csrf": person.form()["csrf"],
            "name": "x",
            "identity": json.dumps(to_json(document)),
            "proof": json.dumps(to_json(proof)),
        }
        await person.http.post("/account/identities", data=form)
        kept = await server.runtime.database.read(store.list_identities, ada.id)
        answers = (by_program.status_code, granted.status_code, *pages, len(kept))
        assert answers == ((200, 200, 200, 200, 2) if taken else (400, 400, 400, 400, 1))
        as_client = await server.client(token_endpoint_auth_method="zero_proof")
        service = await make_holder(server, ("client", as_client.client.client_id))
        proved = service.answer(await service.challenge("client"), dpop_channel(key.thumbprint))
        body = {
            "grant_type": "client_credentials",
            "client_id": service.owner_id,
            "client_assertion_type": ASSERTION,
            "client_assertion": json.dumps(to_json(proved)),
        }
        answer = await server.http.post("/token", data=body, headers=dpop(server, key))
        assert answer.status_code == 200, "a client is no person"
