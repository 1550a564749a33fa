"""Proofs of possession with nonces, on several nodes, and behind a proxy: what helps an honest client and nobody else."""

import os
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.attacks.proofs import FORM, everything, proof, send, server
from tests.fixtures.postgres import Store
from tests.fixtures.servers import Server, basic, open_server

from watchword.jose import jwk
from watchword.oauth import dpop

__all__ = ["server"]


PATHS = ("/token", "/par", "/device_authorization")


@pytest.mark.parametrize("path", PATHS)
async def test_two_proofs_of_one_request_are_none(server: Server, path: str) -> None:
    """RFC 9449 §4.3 (1): more than one DPoP header field is an invalid proof, whatever they say."""
    client, key = await everything(server), jwk.generate("ES256")
    nonce = (await send(server, client, path, proof(server, key, path))).headers["dpop-nonce"]
    first, second = (proof(server, key, path, nonce=nonce)["dpop"] for _ in range(2))
    assert (await send(server, client, path, {"dpop": first})).status_code in (200, 201)
    both = [("dpop", second), ("dpop", second), ("authorization", basic(client))]
    refused = await server.http.post(path, data=FORM, headers=both)
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_dpop_proof")


@pytest.mark.parametrize("path", PATHS)
async def test_dp_50_a_missing_nonce_is_handed_out_and_then_accepted(server: Server, path: str) -> None:
    client, key = await everything(server), jwk.generate("ES256")
    refused = await send(server, client, path, proof(server, key, path))
    assert (refused.status_code, refused.json()["error"]) == (400, "use_dpop_nonce")
    nonce = refused.headers["dpop-nonce"]
    again = await send(server, client, path, proof(server, key, path, nonce=nonce))
    assert again.status_code in (200, 201), again.text
    assert dpop.is_fresh_nonce(
        server.runtime.keyring.secret("dpop nonces"), again.headers["dpop-nonce"], int(server.clock())
    ), "a fresh one comes with every answer, before the old one ends"


async def test_dp_50_nonces_that_are_stale_invented_or_of_another_server_start_no_loop(
    server: Server,
) -> None:
    client, key = await everything(server), jwk.generate("ES256")
    old = (await send(server, client, "/token", proof(server, key, "/token"))).headers["dpop-nonce"]
    server.clock.advance(240)
    answer = await send(server, client, "/token", proof(server, key, "/token", nonce=old))
    assert answer.status_code == 200, "good for five minutes"
    fresh = answer.headers["dpop-nonce"]
    assert fresh != old, "the next one is at hand before that"
    server.clock.advance(120)
    others = dpop.make_nonce(os.urandom(32), int(server.clock()))
    garbled = fresh[:-1] + ("B" if fresh.endswith("A") else "A")
    for bad in (old, others, fresh + "\n", "", "x" * 5000, garbled):
        refused = await send(server, client, "/token", proof(server, key, "/token", nonce=bad))
        assert (refused.status_code, refused.json()["error"]) == (400, "use_dpop_nonce"), bad[:60]
        given = refused.headers["dpop-nonce"]
        retried = await send(server, client, "/token", proof(server, key, "/token", nonce=given))
        assert retried.status_code == 200, "one retry is enough"
    number = await send(server, client, "/token", proof(server, key, "/token", nonce=1))
    assert number.json()["error"] == "invalid_dpop_proof"


async def test_dp_50_a_nonce_of_one_node_is_good_on_every_other(server: Server, tmp_path: Path) -> None:
    client, key = await everything(server), jwk.generate("ES256")
    given = (await send(server, client, "/token", proof(server, key, "/token"))).headers["dpop-nonce"]
    options = {"database": server.settings.database, "key_file": server.settings.key_file}
    async with open_server(tmp_path, **options, dpop_nonce="required") as other:
        elsewhere = await send(other, client, "/token", proof(other, key, "/token", nonce=given))
        assert elsewhere.status_code == 200


async def test_dp_50_a_resource_of_the_server_answers_401_with_a_challenge(server: Server) -> None:
    key = jwk.generate("ES256")
    token = (await server.token(scope="watchword:clients:read", jkt=key.thumbprint)).secret
    path = "/api/v1/clients"

    async def ask(**changes: object) -> httpx.Response:
        sent = proof(server, key, path, token, htm="GET", **changes)
        return await server.http.get(path, headers={"authorization": f"DPoP {token}", **sent})

    refused = await ask()
    assert refused.status_code == 401
    assert refused.headers["www-authenticate"].startswith('DPoP error="use_dpop_nonce"')
    nonce = refused.headers["dpop-nonce"]
    assert (await ask(nonce=nonce)).status_code == 200
    wrong = await ask(nonce=nonce, htu="https://evil.example/")
    assert wrong.status_code == 401
    assert wrong.headers["www-authenticate"].startswith('DPoP error="invalid_dpop_proof"')


@pytest.mark.parametrize("path", ["/api/v1/clients", "/metrics", "/userinfo"])
async def test_who_lacks_a_scope_is_answered_in_the_scheme_of_the_token(tmp_path: Path, path: str) -> None:
    """RFC 9449 §7.1: a client that knows DPoP alone finds the error where it looks for it."""
    async with open_server(tmp_path) as server:
        client, key = await server.client(), jwk.generate("ES256")

        async def ask(scheme: str) -> httpx.Response:
            own = proof(server, key, "/token") if scheme == "DPoP" else {}
            token = (await send(server, client, "/token", own)).json()["access_token"]
            sent = proof(server, key, path, token, htm="GET") if scheme == "DPoP" else {}
            return await server.http.get(path, headers={"authorization": f"{scheme} {token}", **sent})

        for scheme in ("Bearer", "DPoP"):
            refused = await ask(scheme)
            assert (refused.status_code, refused.json()["error"]) == (403, "insufficient_scope")
            challenge = refused.headers["www-authenticate"]
            assert challenge.startswith(f'{scheme} error="insufficient_scope", scope="')
            assert ("algs=" in challenge) is (scheme == "DPoP")


async def test_a_token_of_a_key_is_worth_nothing_at_the_server_without_its_proof(tmp_path: Path) -> None:
    """RFC 9449 §7.1, §7.2: a token that leaked is none for whoever lacks the key; a proof makes no token a bound one."""
    async with open_server(tmp_path) as server:
        key, path = jwk.generate("ES256"), "/api/v1/clients"
        bound = (await server.token(scope="watchword:clients:read", jkt=key.thumbprint)).secret
        plain = (await server.token(scope="watchword:clients:read")).secret

        async def ask(scheme: str, token: str, signer: jwk.Key | None = key) -> int:
            sent = proof(server, signer, path, token, htm="GET") if signer else {}
            headers = {"authorization": f"{scheme} {token}", **sent}
            return (await server.http.get(path, headers=headers)).status_code

        assert [await ask("DPoP", bound), await ask("Bearer", plain, None)] == [200, 200]
        assert await ask("Bearer", bound, None) == 401
        assert await ask("Bearer", bound) == 401, "the scheme says what the proof is for"
        assert await ask("DPoP", bound, None) == 401
        assert await ask("DPoP", bound, jwk.generate("ES256")) == 401
        assert await ask("DPoP", plain) == 401


async def test_dp_51_a_proof_used_on_one_node_is_refused_on_every_other(store: Store, tmp_path: Path) -> None:
    options: dict[str, Any] = {"database": store.address, "key_file": str(tmp_path / "key")}
    key = jwk.generate("ES256")
    async with open_server(tmp_path, **options) as one, open_server(tmp_path, **options) as other:
        client = await one.client()
        first, second = proof(one, key, "/token"), proof(one, key, "/token")
        assert (await send(one, client, "/token", first)).status_code == 200
        assert (await send(other, client, "/token", second)).status_code == 200
        for node, sent in ((other, first), (one, second), (one, first)):
            refused = await send(node, client, "/token", sent)
            assert (refused.status_code, refused.json()["error"]) == (400, "invalid_dpop_proof")


async def test_dp_52_the_address_in_a_proof_is_normalised_and_nothing_else(tmp_path: Path) -> None:
    addresses: dict[bool, tuple[object, ...]] = {
        True: (
            "http://localhost/token", "HTTP://LOCALHOST/token", "http://localhost:80/token",
            "http://localhost/token?a=b#c", "http://localhost/%74oken",
        ),
        False: (
            "https://localhost/token", "http://localhost:8000/token", "http://localhost/token/", "http://localhost//token",
            "http://localhost/x/../token", "http://localhost/TOKEN", "http://localhost.evil.example/token",
            "http://user@localhost/token", "/token", "http://[::1/token", "http://localhost\n/token", 7,
        ),
    }  # fmt: skip
    async with open_server(tmp_path) as server:
        client, key = await everything(server), jwk.generate("ES256")
        for accepted, addressed in addresses.items():
            for htu in addressed:
                answer = await send(server, client, "/token", proof(server, key, "/token", htu=htu))
                assert (answer.status_code == 200) is accepted, (htu, answer.text)
                assert accepted or answer.json()["error"] == "invalid_dpop_proof"


async def test_dp_52_behind_a_proxy_the_public_address_counts_whatever_headers_say(tmp_path: Path) -> None:
    options = {"issuer": "https://auth.example.com/tenant", "behind_tls_proxy": True}
    async with open_server(tmp_path, **options) as server:
        client, key = await everything(server), jwk.generate("ES256")
        headers = {
            "authorization": basic(client),
            "x-forwarded-host": "evil.example",
            "host": "10.0.0.7:8000",
        }
        inside = "http://10.0.0.7:8000/tenant/token"
        for htu, status in (
            ("https://auth.example.com/tenant/token", 200),
            ("https://auth.example.com:443/tenant/token", 200),
            (inside, 400),
            ("https://evil.example/tenant/token", 400),
        ):
            sent = proof(server, key, "/token", htu=htu)
            answer = await server.http.post(inside, data=FORM, headers=headers | sent)
            assert answer.status_code == status, (htu, answer.text)
