"""Zero-knowledge identities in the server: registered, signed in with, exchanged for a bound token, renewed, revoked."""

import contextlib
import json
import os
from pathlib import Path
from urllib.parse import quote

import msgspec
import pytest
from tests.fixtures import certificates
from tests.fixtures.accounts import EMAIL, another, make
from tests.fixtures.holders import (
    ASSERTION,
    Holder,
    dpop,
    make_holder,
    make_user,
    new_secret,
    public_client,
    refused,
    token,
)
from tests.fixtures.people import Person, letters
from tests.fixtures.servers import Server, open_server, together
from tests.flows.test_first_sign_in import PASSWORD, csrf_of

from watchword.flows import identities
from watchword.flows.runtime import Runtime
from watchword.flows.users import account_changes
from watchword.jose import jwk
from watchword.oauth.errors import OAuthError
from watchword.store import factors
from watchword.store import identities as store
from watchword.store.users import User
from watchword.zero import identity, revocation
from watchword.zero.proof import dpop_channel
from watchword.zero.records import Challenge, from_json, to_json


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
    assert said["auth_time"] == int(server.clock())


async def test_mt_03_a_token_is_bound_to_the_certificate_as_well_where_its_client_is_registered_so(
    tmp_path: Path,
) -> None:
    proxied = {"trusted_proxies": ("127.0.0.1",), "client_certificate_header": "X-SSL-Client-Cert"}
    async with open_server(tmp_path, **proxied) as server:
        holder, key, pair = await make_holder(server), jwk.generate("ES256"), certificates.make(tmp_path, "c")
        bound = {"tls_client_certificate_bound_access_tokens": True, "grant_types": ["zero_proof"]}
        registered = await server.client(token_endpoint_auth_method="none", **bound)
        without = await token(holder, registered.client.client_id, key)
        assert (without.status_code, without.json()["error"]) == (400, "invalid_request")
        server.http.headers["x-ssl-client-cert"] = quote(pair.pem)
        granted = await token(holder, registered.client.client_id, key)
        judge = await server.client(scope="introspect")
        said = (await server.post("/introspect", judge, token=granted.json()["access_token"])).json()
        assert said["cnf"] == {"jkt": key.thumbprint, "x5t#S256": jwk.certificate_thumbprint(pair.der)}


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
    after = (await token(holder, client_id, key)).json()["access_token"]
    assert await is_alive(after), "enabled again, and not dead before anybody saw it"
    server.clock.advance(10)
    assert await is_alive(after)
    assert not await is_alive(before)


async def test_ad_07_a_token_that_was_on_its_way_when_its_person_was_disabled_is_not_made(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada, client_id, key = await make_user(server), await public_client(server), jwk.generate("ES256")
    holder = await make_holder(server, ("user", ada.id))
    judge = await server.client(scope="introspect")
    honest = (await token(holder, client_id, key)).json()["access_token"]
    needs_second_factor = identities.needs_second_factor

    async def disabled_just_now(runtime: Runtime, user: User) -> bool:
        await account_changes.set_disabled(server.runtime, ada, True, actor="test")
        return await needs_second_factor(runtime, user)

    async def is_alive(access_token: str) -> bool:
        return bool((await server.post("/introspect", judge, token=access_token)).json()["active"])

    assert await is_alive(honest)
    monkeypatch.setattr(identities, "needs_second_factor", disabled_just_now)
    late = await token(holder, client_id, key)
    assert (late.status_code, late.json()["error"]) == (400, "invalid_grant")
    await account_changes.set_disabled(server.runtime, ada, False, actor="test")
    assert not await is_alive(honest), "of the second in which the account was disabled"


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


async def test_a_client_with_an_identity_may_come_by_the_address_for_certificates(tmp_path: Path) -> None:
    alias = "https://mtls.auth.example"
    async with open_server(tmp_path, mtls_address=alias) as server:
        registered = await server.client(token_endpoint_auth_method="zero_proof")
        client_id, key = registered.client.client_id, jwk.generate("ES256")
        holder = await make_holder(server, ("client", client_id))
        form = {
            "grant_type": "client_credentials",
            "client_id": client_id,
            "client_assertion_type": ASSERTION,
        }
        for base, status in ((None, 200), (alias, 200), ("https://other.example", 400)):
            proof = holder.answer(await holder.challenge("client"), dpop_channel(key.thumbprint))
            sent = form | {"client_assertion": json.dumps(to_json(proof))}
            answer = await server.http.post("/token", data=sent, headers=dpop(server, key, base=base))
            assert answer.status_code == status, (base, answer.text)


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
    other, _ = new_secret(server)
    lie = Holder(server, other, document, "").answer(challenge_on(page.text))
    refused = await server.http.post("/account/identities", data=form | {"proof": json.dumps(to_json(lie))})
    assert (refused.status_code, "This proof isn’t valid here." in refused.text) == (400, True)
    page = await server.http.get("/account/identities")
    assert 'value="revoke"' not in page.text, "nothing was registered"
    proof = holder.answer(challenge_on(page.text))
    form |= {"csrf": csrf_of(page.text), "proof": json.dumps(to_json(proof))}
    assert (await server.http.post("/account/identities", data=form)).status_code == 303
    assert "work laptop" in (await server.http.get("/account/identities")).text
    server.http.cookies.clear()
    page = await server.http.get("/sign-in/identity")
    proof = holder.answer(challenge_on(page.text))
    form = {"csrf": csrf_of(page.text), "proof": json.dumps(to_json(proof))}
    elsewhere = await server.http.post("/sign-in/identity", data=form | {"csrf": "0" * 64})
    assert elsewhere.status_code == 400, "nobody is signed in to another's account by a form of another site"
    await drain(server)
    stale = await server.http.post("/sign-in/identity", data=form | {"proof": "{}"})
    assert stale.status_code == 429
    assert (await server.http.post("/sign-in/identity", data=form)).status_code == 303
    assert (await server.http.get("/account")).status_code == 200


async def test_a_person_has_no_more_identities_than_anybody_needs(server: Server) -> None:
    """Each may be 64 KiB, and revoking it keeps it: without a bound, whoever has an account fills the disk."""
    user = await make_user(server)
    for number in range(store.MAX_IDENTITIES - 1):
        filler = store.RegisteredIdentity(
            id=f"zid_{number}", owner_kind="user", owner_id=user.id, name="x", document="{}",
            registered_at=server.runtime.now(), expires_at=server.runtime.now() + 60,
        )  # fmt: skip
        point = f"point {number}".encode()
        assert await server.runtime.database.write(store.register_identity, filler, point, actor="test")
        await server.runtime.database.write(
            store.revoke_identity, point, actor="test", now=server.runtime.now()
        )
    page = await server.http.get("/sign-in")
    form = {"csrf": csrf_of(page.text), "identifier": "ada", "password": PASSWORD}
    assert (await server.http.post("/sign-in", data=form)).status_code == 303

    async def register() -> tuple[int, bool]:
        page = await server.http.get("/account/identities")
        secret, document = new_secret(server)
        proof = Holder(server, secret, document, "").answer(challenge_on(page.text))
        filled = {"csrf": csrf_of(page.text), "do": "register", "name": "laptop"}
        filled |= {"identity": json.dumps(to_json(document)), "proof": json.dumps(to_json(proof))}
        answer = await server.http.post("/account/identities", data=filled)
        return answer.status_code, "maximum number of keys" in answer.text

    assert await register() == (303, False), "the honest variant"
    assert await register() == (400, True)
    assert await server.runtime.database.read(
        store.has_many, user.id, server.runtime.now() + store.COUNTS_REVOKED - 1
    )
    assert not await server.runtime.database.read(
        store.has_many, user.id, server.runtime.now() + store.COUNTS_REVOKED
    )
    await make_holder(server, ("user", (await make_user(server, "bob")).id))


async def drain(server: Server) -> None:
    """Fail until attempts from the address of the test are refused."""
    with contextlib.suppress(OAuthError):
        for _ in range(200):
            await identities.throttle(server.runtime, "127.0.0.1")


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


async def test_a_revoked_identity_is_renewed_no_more(server: Server) -> None:
    holder = await make_holder(server)
    now = int(server.clock())
    first, second = (
        identity.renew(holder.document, holder.secret, now + n, now + 10 * 86_400, os.urandom(32))
        for n in (1, 2)
    )
    server.clock.advance(5)
    assert (await server.http.post("/zero/renew", json=to_json(first))).status_code == 200
    statement = revocation.revoke(holder.secret, int(server.clock()), "compromised", os.urandom(32))
    assert (await server.http.post("/zero/revoke", json=to_json(statement))).status_code == 204
    assert (await server.http.post("/zero/renew", json=to_json(second))).status_code == 400


async def test_a_thousand_sign_ins_at_once_lose_none(server: Server) -> None:
    holder = await make_holder(server)
    proofs = [holder.answer(identities.make_challenge(server.runtime, "sign-in")) for _ in range(1000)]
    # PostgreSQL's pool gives up on who waits too long, so that a flood there comes in waves, small ones for a busy machine.
    wave = 25 if server.settings.is_postgres else 1000
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


async def test_who_has_a_second_factor_or_must_have_one_needs_it_whatever_way_the_proof_takes(
    server: Server,
) -> None:
    holder, client_id, key = await make_holder(server), await public_client(server), jwk.generate("ES256")

    async def is_refused() -> bool:
        granted = await token(holder, client_id, key)
        by_program = await holder.sign_in(holder.answer(await holder.challenge("sign-in")))
        if granted.status_code == by_program.status_code == 200:
            return False
        assert (granted.status_code, granted.json()["error"]) == (400, "invalid_grant")
        assert "second factor" in granted.json()["error_description"]
        assert by_program.json()["error"] == "access_denied"
        return True

    for policy, demanded in (("never", False), ("administrators", False), ("always", True), ("never", False)):
        server.runtime.settings = msgspec.structs.replace(
            server.runtime.settings, second_factor_required=policy
        )
        assert await is_refused() is demanded, policy
    await server.runtime.database.write(
        factors.add_totp, holder.owner_id, b"sealed", step=1, actor="test", now=int(server.clock())
    )
    assert await is_refused()


@pytest.mark.parametrize("way", ["by its holder's statement", "on the account page"])
async def test_whose_identity_is_revoked_is_told_by_mail_once(tmp_path: Path, way: str) -> None:
    async with open_server(tmp_path, mode="development") as server, another(server) as browser:
        ada, person = await make(server), Person(server, browser)
        holder = await make_holder(server, ("user", ada.id))
        statement = revocation.revoke(holder.secret, int(server.clock()), "compromised", os.urandom(32))
        await person.sign_in()
        await person.open("/account/identities")
        assert "Revoked" not in person.text
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
        await person.open("/account/identities")
        assert "Revoked" in person.text
        assert person.page is not None
        assert 'value="revoke"' not in person.page.text


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
