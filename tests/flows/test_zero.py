"""Zero-knowledge identities in the server: registered, signed in with, exchanged for a bound token, renewed, revoked."""

import json
import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.fixtures.accounts import EMAIL, another, make
from tests.fixtures.people import Person, letters
from tests.fixtures.servers import Server, open_server, together
from tests.flows.conftest import Stored
from tests.flows.test_first_sign_in import PASSWORD, csrf_of

from watchword.flows import account_changes, accounts, identities
from watchword.jose import jwk, jwt
from watchword.jose.jwk import Key
from watchword.oauth.errors import OAuthError
from watchword.store import factors
from watchword.store import identities as store
from watchword.store.users import User
from watchword.zero import agent, identity, revocation
from watchword.zero.proof import dpop_channel
from watchword.zero.records import Challenge, Identity, Proof, Secret, from_json, to_json

GRANT = "urn:watchword:params:oauth:grant-type:zero-proof"
ASSERTION = "urn:watchword:params:oauth:client-assertion-type:zero-proof"


@dataclass(slots=True)
class Holder:
    """Somebody with an identity, and the server that knows its public document."""

    server: Server
    secret: Secret
    document: Identity
    owner_id: str

    async def challenge(self, purpose: str) -> Challenge:
        """Ask for a challenge."""
        answer = await self.server.http.post("/zero/challenge", json={"purpose": purpose})
        assert answer.status_code == 200
        return from_json(answer.json(), Challenge)

    def answer(self, challenge: Challenge, channel: bytes | None = None) -> Proof:
        """Answer a challenge."""
        order = agent.Order(challenge, channel, (), None)
        return agent.fulfil(self.secret, order, int(self.server.clock()), os.urandom(32))

    async def sign_in(self, proof: Proof) -> httpx.Response:
        """Send a proof to sign in."""
        return await self.server.http.post("/zero/sign-in", json=to_json(proof))


def new_secret(server: Server, life: int = 86_400) -> tuple[Secret, Identity]:
    """Make a secret and its public identity."""
    secret = Secret(os.urandom(32), ())
    now = int(server.clock())
    return secret, identity.create(secret, now, now + life, os.urandom(32))


async def make_user(server: Server, name: str = "ada") -> User:
    """Make an account."""
    return await accounts.create(server.runtime, username=name, password=PASSWORD, actor="test")


async def make_holder(server: Server, owner: tuple[str, str] | None = None) -> Holder:
    """Register an identity for a fresh user, or for the owner given."""
    owner = owner or ("user", (await make_user(server)).id)
    secret, document = new_secret(server)
    await identities.register(server.runtime, document, owner=owner, name="test", actor="test", given=None)
    return Holder(server, secret, document, owner[1])


def dpop(server: Server, key: Key, path: str = "/token") -> dict[str, str]:
    """Return the header of a DPoP proof for the token endpoint, or another one."""
    claims = {
        "jti": os.urandom(8).hex(),
        "htm": "POST",
        "htu": server.settings.issuer + path,
        "iat": int(server.clock()),
    }
    return {"dpop": jwt.encode_with_key(key, claims, "dpop+jwt")}


async def token(holder: Holder, client_id: str, key: Key, channel_key: Key | None = None) -> httpx.Response:
    """Ask for a token with a proof bound to a key."""
    channel = dpop_channel((channel_key or key).thumbprint)
    proof = holder.answer(await holder.challenge("token"), channel)
    form = {"grant_type": GRANT, "client_id": client_id, "proof": json.dumps(to_json(proof))}
    return await holder.server.http.post("/token", data=form, headers=dpop(holder.server, key))


async def public_client(server: Server) -> str:
    """Register a public client of the grant."""
    registered = await server.client(token_endpoint_auth_method="none", grant_types=["zero_proof"])
    return registered.client.client_id


async def test_a_proof_begins_a_session_that_says_how(server: Server) -> None:
    holder = await make_holder(server)
    answer = await holder.sign_in(holder.answer(await holder.challenge("sign-in")))
    assert answer.status_code == 200
    assert answer.json()["sub"] == holder.owner_id
    assert answer.json()["amr"] == ["pop"]
    account = await server.http.get("/account")
    assert account.status_code == 200
    assert "ada" in account.text


async def test_a_proof_becomes_a_token_bound_to_the_key_of_its_channel(server: Server) -> None:
    holder, client_id, key = await make_holder(server), await public_client(server), jwk.generate("ES256")
    granted = await token(holder, client_id, key)
    assert granted.status_code == 200
    assert granted.json()["token_type"] == "DPoP"
    judge = await server.client(scope="introspect")
    said = (await server.post("/introspect", judge, token=granted.json()["access_token"])).json()
    assert said["sub"] == holder.owner_id
    assert said["cnf"] == {"jkt": key.thumbprint}
    assert said["amr"] == ["pop"]


async def test_ad_07_a_token_of_a_disabled_person_stays_dead(server: Server) -> None:
    ada, client_id, key = await make_user(server), await public_client(server), jwk.generate("ES256")
    holder = await make_holder(server, ("user", ada.id))
    judge = await server.client(scope="introspect")
    before = (await token(holder, client_id, key)).json()["access_token"]

    async def is_alive(access_token: str) -> bool:
        return bool((await server.post("/introspect", judge, token=access_token)).json()["active"])

    assert await is_alive(before)
    server.clock.advance(1)
    await account_changes.set_disabled(server.runtime, ada, True, actor="test")
    assert not await is_alive(before)
    await account_changes.set_disabled(server.runtime, ada, False, actor="test")
    assert not await is_alive(before)
    assert await is_alive((await token(holder, client_id, key)).json()["access_token"])


async def test_a_client_authenticates_with_its_identity(server: Server) -> None:
    registered = await server.client(token_endpoint_auth_method="zero_proof")
    client_id, key = registered.client.client_id, jwk.generate("ES256")
    holder = await make_holder(server, ("client", client_id))
    proof = holder.answer(await holder.challenge("client"), dpop_channel(key.thumbprint))
    form = {
        "grant_type": "client_credentials",
        "client_id": client_id,
        "client_assertion_type": ASSERTION,
        "client_assertion": json.dumps(to_json(proof)),
    }
    granted = await server.http.post("/token", data=form, headers=dpop(server, key))
    assert granted.status_code == 200
    assert granted.json()["token_type"] == "DPoP"
    again = await server.http.post("/token", data=form, headers=dpop(server, key))
    assert again.status_code == 401, "the challenge was answered before"


async def test_a_person_registers_an_identity_from_the_account_and_signs_in_on_the_page(
    server: Server,
) -> None:
    await make_user(server)
    page = await server.http.get("/sign-in")
    form = {"csrf": csrf_of(page.text), "identifier": "ada", "password": PASSWORD}
    assert (await server.http.post("/sign-in", data=form)).status_code == 303
    page = await server.http.get("/account/identities")
    secret, document = new_secret(server)
    holder = Holder(server, secret, document, "")
    proof = holder.answer(challenge_on(page.text))
    form = {
        "csrf": csrf_of(page.text),
        "do": "register",
        "name": "work laptop",
        "identity": json.dumps(to_json(document)),
        "proof": json.dumps(to_json(proof)),
    }
    assert (await server.http.post("/account/identities", data=form)).status_code == 303
    assert "work laptop" in (await server.http.get("/account/identities")).text
    server.http.cookies.clear()
    page = await server.http.get("/sign-in/identity")
    proof = holder.answer(challenge_on(page.text))
    form = {"csrf": csrf_of(page.text), "proof": json.dumps(to_json(proof))}
    assert (await server.http.post("/sign-in/identity", data=form)).status_code == 303
    assert (await server.http.get("/account")).status_code == 200


def challenge_on(html: str) -> Challenge:
    """Return the challenge that a page shows."""
    import html as markup
    import re

    found = re.search(r'<code id="challenge"[^>]*>([^<]+)</code>', html)
    assert found is not None
    return from_json(json.loads(markup.unescape(found[1])), Challenge)


async def test_a_renewal_by_the_holder_extends_the_identity(server: Server) -> None:
    holder = await make_holder(server)
    now = int(server.clock())
    renewed = identity.renew(holder.document, holder.secret, now + 1, now + 10 * 86_400, os.urandom(32))
    server.clock.advance(5)
    assert (await server.http.post("/zero/renew", json=to_json(renewed))).status_code == 200
    server.clock.advance(2 * 86_400)
    assert (await holder.sign_in(holder.answer(await holder.challenge("sign-in")))).status_code == 200
    stale = await server.http.post("/zero/renew", json=to_json(holder.document))
    assert stale.status_code == 400


async def test_a_thousand_sign_ins_at_once_lose_none(server: Server) -> None:
    holder = await make_holder(server)
    proofs = [holder.answer(identities.make_challenge(server.runtime, "sign-in")) for _ in range(1000)]
    # PostgreSQL's pool gives up on who waits for more than a second, so that a flood there comes in waves.
    wave = 100 if server.settings.is_postgres else 1000
    proven = []
    for start in range(0, len(proofs), wave):
        checks = [
            identities.check_proof(server.runtime, proof, "sign-in", None)
            for proof in proofs[start : start + wave]
        ]
        proven += await together(*checks)
    assert {one.identity.owner_id for one in proven} == {holder.owner_id}
    assert len(proven) == 1000


async def test_a_proof_with_a_dpop_proof_beside_it_is_bound_to_that_key(server: Server) -> None:
    holder, key = await make_holder(server), jwk.generate("ES256")
    for channel_key, status in ((key, 200), (jwk.generate("ES256"), 400), (None, 400)):
        channel = dpop_channel(channel_key.thumbprint) if channel_key else None
        proof = holder.answer(await holder.challenge("sign-in"), channel)
        answer = await server.http.post(
            "/zero/sign-in", json=to_json(proof), headers=dpop(server, key, "/zero/sign-in")
        )
        assert answer.status_code == status, channel_key
    bound = holder.answer(await holder.challenge("sign-in"), dpop_channel(key.thumbprint))
    assert await refused(holder, bound), "and a bound proof is nothing without its key"


async def test_who_has_a_second_factor_needs_it_whatever_way_the_proof_takes(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    holder, client_id, key = await make_holder(server), await public_client(server), jwk.generate("ES256")
    assert (await token(holder, client_id, key)).status_code == 200
    await server.runtime.database.write(
        factors.add_totp, holder.owner_id, b"sealed", step=1, actor="test", now=int(server.clock())
    )
    granted = await token(holder, client_id, key)
    assert (granted.status_code, granted.json()["error"]) == (400, "invalid_grant")
    assert "second factor" in granted.json()["error_description"]
    by_program = await holder.sign_in(holder.answer(await holder.challenge("sign-in")))
    assert by_program.json()["error"] == "access_denied"


async def refused(holder: Holder, proof: Proof) -> bool:
    """Whether a proof is refused at sign-in, in plain words that say nothing of why."""
    answer = await holder.sign_in(proof)
    if answer.status_code == 200:
        return False
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")
    assert answer.json()["error_description"] == "The proof is not valid here."
    return True


async def test_attack_replay(server: Server) -> None:
    holder = await make_holder(server)
    proof = holder.answer(await holder.challenge("sign-in"))
    assert not await refused(holder, proof)
    assert await refused(holder, proof)


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


async def test_lg_06_failed_sign_ins_are_throttled_and_honest_ones_never(server: Server) -> None:
    holder = await make_holder(server)
    wrong = holder.answer(identities.make_challenge(server.runtime, "token"))
    statuses = [(await holder.sign_in(wrong)).status_code for _ in range(125)]
    assert (statuses[0], statuses[-1]) == (400, 429)
    assert not await refused(holder, holder.answer(await holder.challenge("sign-in")))


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


async def test_attack_with_a_revoked_identity(server: Server) -> None:
    holder = await make_holder(server)
    assert not await refused(holder, holder.answer(await holder.challenge("sign-in")))
    statement = revocation.revoke(holder.secret, int(server.clock()), "compromised", os.urandom(32))
    assert (await server.http.post("/zero/revoke", json=to_json(statement))).status_code == 204
    assert await refused(holder, holder.answer(await holder.challenge("sign-in")))


@pytest.mark.parametrize("way", ["by its holder's statement", "on the account page"])
async def test_whose_identity_is_revoked_is_told_by_mail_once(tmp_path: Path, way: str) -> None:
    async with open_server(tmp_path, mode="development") as server, another(server) as browser:
        ada, person = await make(server), Person(server, browser)
        holder = await make_holder(server, ("user", ada.id))
        statement = revocation.revoke(holder.secret, int(server.clock()), "compromised", os.urandom(32))
        await person.sign_in()
        for _ in range(2):
            if way == "on the account page":
                await person.open("/account/identities")
                listed = await server.runtime.database.read(store.list_identities, ada.id)
                form = {"csrf": person.form()["csrf"], "do": "revoke", "identity_id": listed[0].id}
                await browser.post("/account/identities", data=form)
            else:
                await server.http.post("/zero/revoke", json=to_json(statement))
        told = [text for to, text in await letters(server) if to == EMAIL and "was revoked" in text]
        assert len(told) == 1
        assert ("Device: Firefox" in told[0]) is (way == "on the account page")


async def test_the_last_way_in_is_revoked_by_its_holder_alone(tmp_path: Path) -> None:
    given = {"mode": "development", "sign_in_methods": ("identity",)}
    async with open_server(tmp_path, **given) as server, another(server) as browser:
        ada, person = await make(server), Person(server, browser)
        holder = await make_holder(server, ("user", ada.id))
        signed_in = await browser.post(
            "/zero/sign-in", json=to_json(holder.answer(await holder.challenge("sign-in")))
        )
        assert signed_in.status_code == 200
        await person.open("/account/identities")
        assert person.path == "/account/identities"
        listed = await server.runtime.database.read(store.list_identities, ada.id)
        form = {"csrf": person.form()["csrf"], "do": "revoke", "identity_id": listed[0].id}
        answer = await browser.post("/account/identities", data=form)
        assert answer.status_code == 400
        assert "last way to sign in" in answer.text
        assert not await refused(holder, holder.answer(await holder.challenge("sign-in")))
        statement = revocation.revoke(holder.secret, int(server.clock()), "compromised", os.urandom(32))
        assert (await server.http.post("/zero/revoke", json=to_json(statement))).status_code == 204
        assert await refused(holder, holder.answer(await holder.challenge("sign-in")))


async def test_attack_with_an_expired_identity(server: Server) -> None:
    holder = await make_holder(server)
    assert not await refused(holder, holder.answer(await holder.challenge("sign-in")))
    server.clock.advance(86_400 + 10)
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


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{}", b"null", b'{"type":"proof"}', b"[" * 50_000, b'{"a":"\\ud800"}', b"\xff\xfe"],
    ids=repr,
)
@pytest.mark.parametrize("path", ["/zero/challenge", "/zero/sign-in", "/zero/renew", "/zero/revoke"])
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
