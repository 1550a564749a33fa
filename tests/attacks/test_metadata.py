"""Metadata and keys: whatever they name is there and works, whatever is not named does not, and nobody can make them say more."""

import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest_asyncio
from joserfc.jwk import ECKey, RSAKey
from tests.attacks.proofs import everything, proof, send
from tests.fixtures.servers import Process, Server, open_server

from watchword.jose import jwe, jwk, jws
from watchword.oauth.clients import GRANT_TYPES
from watchword.oauth.errors import OAuthError

WELL_KNOWN = ("/.well-known/openid-configuration", "/.well-known/oauth-authorization-server")
FORM = {"content-type": "application/x-www-form-urlencoded"}


@pytest_asyncio.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    """A server that does all that it can, below a path."""
    async with open_server(
        tmp_path,
        issuer="http://localhost/tenant",
        registration="open",
        signing_algorithms=("ES256", "EdDSA", "RS256"),
    ) as opened:
        yield opened


ALIASES = {"Ed25519": "EdDSA"}  # RFC 9864: the same signature by its own name


def signed(key: jwk.Key, alg: str, claims: dict[str, Any]) -> str:
    """Return a token whose header names an algorithm by exactly this name."""
    start = f"{jwk.b64encode(json.dumps({'alg': alg}).encode())}.{jwk.b64encode(json.dumps(claims).encode())}"
    return f"{start}.{jwk.b64encode(jws.ALGORITHMS[key.alg].sign(key, start.encode()))}"


async def metadata(server: Server) -> dict[str, Any]:
    """Return what the server says of itself."""
    found: dict[str, Any] = (await server.http.get(WELL_KNOWN[0])).json()
    return found


async def test_md_01_the_metadata_are_of_this_issuer_alone(server: Server) -> None:
    answer = await server.http.get(WELL_KNOWN[0])
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    said = answer.json()
    assert said["issuer"] == server.settings.issuer
    addresses = {name: uri for name, uri in said.items() if name.endswith(("_endpoint", "_uri"))}
    assert len(addresses) >= 9
    for name, uri in addresses.items():
        assert uri.startswith(server.settings.issuer + "/"), name
        assert not {"?", "#"} & set(uri), name


async def test_md_01_every_address_that_is_named_answers(server: Server) -> None:
    for name, uri in (await metadata(server)).items():
        if not name.endswith(("_endpoint", "_uri")):
            continue
        answers = [await server.http.get(uri), await server.http.post(uri, content=b"x=y", headers=FORM)]
        assert any(answer.status_code not in (404, 405) for answer in answers), name
        assert all(answer.status_code < 500 for answer in answers), name


async def test_md_07_both_documents_are_where_either_specification_puts_them(server: Server) -> None:
    host = "http://localhost"
    places = [f"{host}{kind}/tenant" for kind in WELL_KNOWN] + [f"{host}/tenant{kind}" for kind in WELL_KNOWN]
    found = [await server.http.get(place) for place in places]
    assert {answer.status_code for answer in found} == {200}
    assert len({answer.text for answer in found}) == 1
    for elsewhere in (
        f"{host}/.well-known/openid-configuration/other",
        f"{host}/other/.well-known/openid-configuration",
    ):
        assert (await server.http.get(elsewhere)).status_code == 404


async def test_probes_find_a_node_whatever_the_path_of_its_issuer(server: Server) -> None:
    for probe, status in (("/livez", 200), ("/healthz", 200), ("/readyz", 200), ("/metrics", 401)):
        for place in (f"http://localhost{probe}", f"http://localhost/tenant{probe}"):
            assert (await server.http.get(place)).status_code == status, place
    assert (await server.http.get("http://localhost/token")).status_code == 404, "and nothing else is outside"


async def test_md_01_each_grant_and_method_that_is_named_is_known_and_no_other(server: Server) -> None:
    said = await metadata(server)
    grants = said["grant_types_supported"]
    client = await server.client(
        grant_types=grants,
        redirect_uris=["https://app.example.com/cb"],
        token_endpoint_auth_method="client_secret_basic",
    )
    for grant in [*grants, "password", "implicit", "urn:example:other"]:
        refusal = (await server.post("/token", client, grant_type=grant)).json().get("error")
        assert (refusal == "unsupported_grant_type") is (grant not in grants), grant
    assert set(grants) == set(GRANT_TYPES)
    assert "client_secret_jwt" not in said["token_endpoint_auth_methods_supported"], "CL-05"
    assert "none" not in said["introspection_endpoint_auth_methods_supported"]
    assert not {"tls_client_auth", "self_signed_tls_client_auth"} & set(
        said["token_endpoint_auth_methods_supported"]
    )
    assert said["response_types_supported"] == ["code"]
    assert said["code_challenge_methods_supported"] == ["S256"]


async def test_md_01_a_challenge_lists_the_same_algorithms_for_proofs(server: Server) -> None:
    opened = await server.http.get("/userinfo", headers={"authorization": "DPoP x", "dpop": "x.y.z"})
    assert opened.status_code == 401
    challenge = opened.headers["www-authenticate"].partition('algs="')[2].partition('"')[0]
    assert challenge.split() == (await metadata(server))["dpop_signing_alg_values_supported"]


async def test_md_01_each_algorithm_of_answers_that_is_named_can_be_registered_and_no_other(
    server: Server,
) -> None:
    said = await metadata(server)
    keys = {
        "keys": [
            ECKey.generate_key("P-256").as_dict(private=False),
            RSAKey.generate_key(2048).as_dict(private=False),
        ]
    }

    async def registers(**given: Any) -> bool:
        try:
            await server.client(jwks=keys, **given)
        except OAuthError as error:
            return error.code != "invalid_client_metadata"
        return True

    for kind in ("id_token", "userinfo", "introspection"):
        named = said[f"{kind}_signing_alg_values_supported"]
        for alg in ("ES256", "EdDSA", "RS256", "PS256", "ES384", "HS256", "none"):
            assert await registers(**{f"{kind}_signed_response_alg": alg}) is (alg in named), (kind, alg)
        algs = said[f"{kind}_encryption_alg_values_supported"]
        for alg in (*jwe.ALGORITHMS, "RSA1_5", "RSA-OAEP", "A128KW", "dir"):
            assert await registers(**{f"{kind}_encrypted_response_alg": alg}) is (alg in algs), (kind, alg)
        encs = said[f"{kind}_encryption_enc_values_supported"]
        for enc in (*jwe.ENCODINGS, "A192GCM", "none"):
            wanted = {f"{kind}_encrypted_response_alg": "ECDH-ES", f"{kind}_encrypted_response_enc": enc}
            assert await registers(**wanted) is (enc in encs), (kind, enc)
    for subject_type in ("public", "pairwise"):
        assert subject_type in said["subject_types_supported"]
        assert await registers(subject_type=subject_type)


async def test_md_01_each_algorithm_of_proofs_and_assertions_that_is_named_works(tmp_path: Path) -> None:
    async with open_server(tmp_path) as server:
        said = await metadata(server)
        client = await everything(server)
        for alg in said["dpop_signing_alg_values_supported"]:
            given = proof(server, jwk.generate(ALIASES.get(alg, alg)), "/token")["dpop"]
            answer = await send(server, client, "/token", {"dpop": given})
            assert (answer.status_code, answer.json()["token_type"]) == (200, "DPoP"), alg
        for alg in said["token_endpoint_auth_signing_alg_values_supported"]:
            key = jwk.generate(ALIASES.get(alg, alg))
            public = {"keys": [jwk.public_document(key)]}
            by_key = (await server.client(token_endpoint_auth_method="private_key_jwt", jwks=public)).client
            claims = {"iss": by_key.client_id, "sub": by_key.client_id, "aud": server.settings.issuer}
            claims |= {"exp": int(server.clock()) + 60, "jti": alg}
            form = {"grant_type": "client_credentials", "client_assertion": signed(key, alg, claims)}
            form["client_assertion_type"] = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
            assert (await server.http.post("/token", data=form)).status_code == 200, alg


async def test_md_01_id_tokens_are_signed_by_what_is_named_and_published(server: Server) -> None:
    said = await metadata(server)
    published = (await server.http.get(said["jwks_uri"])).json()["keys"]
    assert {key["alg"] for key in published} == set(said["id_token_signing_alg_values_supported"])
    assert all(key["use"] == "sig" and key["kid"] for key in published)
    assert not any(member in key for key in published for member in ("d", "p", "q", "k"))


async def test_keys_are_listed_in_the_order_of_the_algorithms_however_they_came_about(
    server: Server, tmp_path: Path
) -> None:
    # Nimbus' JWSAlgorithmFamilyJWSKeySelector.fromJWKSetURL takes the family of the first key, RSA or EC, and refuses the other's.
    server.clock.advance(3600)
    assert await server.runtime.keyring.rotate("ES256", actor="test"), (
        "the newest key is of the first algorithm"
    )
    published = (await server.http.get("/.well-known/jwks.json")).json()["keys"]
    assert [key["alg"] for key in published] == ["ES256"] * 3 + ["EdDSA"] * 2 + ["RS256"] * 2
    await server.app.close()
    async with open_server(tmp_path, signing_algorithms=("RS256",)) as later:
        published = (await later.http.get("/.well-known/jwks.json")).json()["keys"]
        assert {key["alg"] for key in published[:2]} == {"RS256"}, "before those that sign no more"
        assert {key["alg"] for key in published[2:]} == {"ES256", "EdDSA"}


async def test_te_18_answers_carry_nosniff_and_no_banner(server_process: Process) -> None:
    with httpx.Client(base_url=server_process.issuer) as http:
        answers = [
            http.get("/.well-known/jwks.json"),
            http.get(WELL_KNOWN[0]),
            http.post("/token", data={"grant_type": "x"}),
            http.post("/introspect", data={"token": "x"}),
            http.get("/userinfo"),
            http.get("/nowhere"),
            http.get("/sign-in"),
        ]
    for answer in answers:
        assert answer.headers["x-content-type-options"] == "nosniff", answer.url
        assert not {"server", "x-powered-by", "via"} & answer.headers.keys(), answer.url
        assert "watchword/" not in answer.text.lower()


async def test_kr_05_keys_are_kept_by_who_reads_them_and_asked_for_again_cheaply(server: Server) -> None:
    path = "/.well-known/jwks.json"
    first = await server.http.get(path)
    assert first.headers["cache-control"] == "public, max-age=300"
    tag = first.headers["etag"]
    for known in (tag, f'"other", {tag}', f"W/{tag}", "*"):
        again = await server.http.get(path, headers={"if-none-match": known})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    assert (await server.http.get(path, headers={"if-none-match": '"other"'})).status_code == 200
    await server.runtime.keyring.rotate("ES256", actor="test")
    changed = await server.http.get(path, headers={"if-none-match": tag})
    assert changed.status_code == 200
    assert changed.headers["etag"] != tag


async def test_an_answer_that_has_no_content_states_no_length(server: Server) -> None:
    """RFC 9110 §8.6: a cache may take the length in a 304 for that of what it keeps, and a proxy refuses one in a 204."""
    for path in ("/.well-known/jwks.json", WELL_KNOWN[0]):
        whole = await server.http.get(path)
        assert int(whole.headers["content-length"]) == len(whole.content)
        current = await server.http.get(path, headers={"if-none-match": whole.headers["etag"]})
        allowed = await server.http.options(path)
        assert [current.status_code, allowed.status_code] == [304, 204]
        assert not {"content-length", "transfer-encoding"} & {*current.headers, *allowed.headers}


async def test_a_file_of_the_pages_is_kept_only_under_the_address_of_what_is_in_it(server: Server) -> None:
    """Decision 0017: pages of the next release may ask a node of this one, and anyone may ask first what a cache then hands out."""
    page = (await server.http.get("/sign-in")).text
    own = re.findall(r'="[^"]*(/assets/[^"]+)"', page)
    assert len(own) >= 3
    for address in own:
        answer = await server.http.get(address)
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
        file = address.partition("?")[0]
        for other in (f"{file}?v=0123456789abcdef", file, f"{address}&v=0123456789abcdef"):
            foreign = await server.http.get(other)
            assert (foreign.status_code, foreign.content) == (200, answer.content)
            assert foreign.headers["cache-control"] == "no-store"
