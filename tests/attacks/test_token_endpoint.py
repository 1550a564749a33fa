"""Client authentication under attack: every way in which somebody pretends to be a client that they are not."""

import hmac
from pathlib import Path
from urllib.parse import quote_plus

import pytest
from tests.attacks.client_authentication import FORM, by_key, header_of
from tests.fixtures.code_flow import REDIRECT, VERIFIER, obtain_code, redeem, register
from tests.fixtures.servers import Server, basic, open_server

from watchword.flows import client_auth
from watchword.jose import jwk
from watchword.oauth import token_format
from watchword.store import client_secrets


async def test_te_02_an_identifier_alone_proves_nothing(server: Server) -> None:
    client = await register(server, grant_types=["authorization_code", "client_credentials"])
    live = {
        "grant_type": "authorization_code",
        "code": (await obtain_code(server, client))["code"],
        "redirect_uri": REDIRECT,
        "code_verifier": VERIFIER,
    }
    alone = {"client_id": client.client.client_id}
    for form in (FORM | alone, FORM, live | alone, live, live | alone | {"client_secret": ""}):
        answer = await server.http.post("/token", data=form)
        assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client"), form
    assert (await server.grant(client)).status_code == 200
    assert (await redeem(server, client, live["code"])).status_code == 200, "the code was not touched"


async def test_te_04_one_client_never_speaks_for_another(server: Server) -> None:
    one, other = await server.client(name="one"), await server.client(name="other")
    named = FORM | {"client_id": one.client.client_id}
    honest = await server.http.post("/token", data=named, headers={"authorization": basic(one)})
    assert honest.status_code == 200
    for form in (
        FORM | {"client_id": other.client.client_id},
        FORM | {"client_id": other.client.client_id, "client_secret": other.client_secret or ""},
    ):
        mixed = await server.http.post("/token", data=form, headers={"authorization": basic(one)})
        assert (mixed.status_code, mixed.json()["error"]) == (400, "invalid_request")


async def test_te_08_only_who_is_registered_for_it_acts_for_itself(server: Server) -> None:
    redirect = {"redirect_uris": ["https://app.example.com/cb"], "grant_types": ["authorization_code"]}
    honest = await server.client(scope="openid orders:read")
    code_only = await server.client(**redirect)
    public = await server.client(token_endpoint_auth_method="none", **redirect)
    answer = (await server.grant(honest)).json()
    assert not {"refresh_token", "id_token"} & answer.keys(), "RFC 6749 §4.4.3"
    refused = await server.grant(code_only)
    assert (refused.status_code, refused.json()["error"]) == (400, "unauthorized_client")
    nobody = await server.http.post("/token", data=FORM | {"client_id": public.client.client_id})
    assert (nobody.status_code, nobody.json()["error"]) == (400, "unauthorized_client")
    wider = await server.grant(honest, scope="orders:read orders:delete")
    assert (wider.status_code, wider.json()["error"]) == (400, "invalid_scope")


# Basic, as RFC 6749 §2.3.1 has it: form-encoded before it is joined

SECRETS = {
    "percent": "50%41off",
    "plus": "a+b+c",
    "colon": "a:b:c",
    "accent": "clé d'été",
    "everything": "%+:é &=/?#",
}


@pytest.mark.parametrize("secret", SECRETS.values(), ids=SECRETS)
async def test_cl_01_a_secret_with_special_characters_is_form_encoded(server: Server, secret: str) -> None:
    client = await server.client()
    await server.runtime.database.write(
        client_secrets.add_secret,
        client.client.client_id,
        id="secret_special",
        digest=token_format.digest(secret),
        expires_at=None,
        overlap_until=None,
        actor="test",
        now=server.runtime.now(),
    )
    encoded = header_of(quote_plus(client.client.client_id), quote_plus(secret))
    assert (await server.http.post("/token", data=FORM, headers=encoded)).status_code == 200
    if {"%", "+"} & set(secret):
        raw = await server.http.post("/token", data=FORM, headers=header_of(client.client.client_id, secret))
        assert (raw.status_code, raw.json()["error"]) == (401, "invalid_client"), "the un-encoded form"


@pytest.mark.parametrize("escape", ["%", "%4", "%zz", "%+1", "% 1", "%-1", "%é1"])
async def test_cl_01_a_malformed_escape_is_refused(server: Server, escape: str) -> None:
    client = await server.client()
    assert (await server.grant(client)).status_code == 200
    header = header_of(client.client.client_id, (client.client_secret or "") + escape)
    answer = await server.http.post("/token", data=FORM, headers=header)
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")


async def test_cl_03_every_wrong_secret_costs_the_same_comparison(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = (client := await server.client()).client_secret or ""
    by_key_only = await by_key(server, jwk.generate("ES256"))
    compared: list[tuple[int, int]] = []

    def counting(one: bytes, other: bytes) -> bool:
        compared.append((len(one), len(other)))
        return hmac.compare_digest(one, other)

    monkeypatch.setattr(client_auth, "hmac", type("Counting", (), {"compare_digest": staticmethod(counting)}))
    first, last = (
        ("X" if secret[0] != "X" else "Y") + secret[1:],
        secret[:-1] + ("x" if secret[-1] != "x" else "y"),
    )
    found = []
    for client_id, wrong in (
        (client.client.client_id, first),
        (client.client.client_id, last),
        (client.client.client_id, "short"),
        ("client_nobody", secret),
        (by_key_only.client.client_id, secret),
    ):
        compared.clear()
        answer = await server.http.post("/token", data=FORM, headers=header_of(client_id, wrong))
        assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")
        found.append((answer.text, tuple(compared)))
    assert len(set(found)) == 1, "neither the answer nor the work tells what was wrong"
    assert found[0][1] == ((32, 32),)
    assert (await server.grant(client)).status_code == 200


async def test_cl_04_guessing_is_throttled_and_locks_nobody_out(server: Server, tmp_path: Path) -> None:
    victim, other = await server.client(name="victim"), await server.client(name="other")
    statuses = []
    for n in range(1000):
        header = header_of(victim.client.client_id, f"guess {n}")
        statuses.append((await server.http.post("/token", data=FORM, headers=header)).status_code)
    assert set(statuses[:120]) == {401}
    assert set(statuses[140:]) == {429}
    refused = await server.http.post("/token", data=FORM, headers=header_of(victim.client.client_id, "x"))
    assert int(refused.headers["retry-after"]) >= 1
    assert (await server.grant(other)).status_code == 200, "another client is not affected"
    assert (await server.grant(victim)).status_code == 200, "nor is who knows the secret"
    (tmp_path / "another").mkdir()
    async with open_server(tmp_path / "another") as another:
        header = header_of(victim.client.client_id, "x")
        refused = await another.http.post("/token", data=FORM, headers=header)
        assert refused.status_code == 401, "another server in this process has another client of that name"
