"""UI: where and how a token is presented, and what userinfo tells."""

import pytest
from tests.attacks.issued import bearer, server, tokens_of
from tests.fixtures.code_flow import register
from tests.fixtures.servers import Server

from watchword.oauth import dpop

__all__ = ["server"]


# Userinfo

MALFORMED = {
    "empty": "",
    "scheme alone": "Bearer",
    "scheme and space": "Bearer ",
    "two tokens": "Bearer a b",
    "control character": "Bearer a\x01b",
    "not ASCII": "Bearer tökén",
    "another scheme": "Digest username=x",
    "no scheme": "justatoken",
    "20 kB": "Bearer " + "a" * 20_000,
    "quotes": 'Bearer "abc"',
    "comma": "Bearer abc, Bearer def",
}


async def test_ui_01_what_is_no_token_is_401_with_a_challenge(server: Server) -> None:
    given = await tokens_of(server)
    honest = await server.http.get("/userinfo", headers=bearer(given["access_token"]))
    assert honest.status_code == 200
    for name, sent in MALFORMED.items():
        refused = await server.http.get("/userinfo", headers={"authorization": sent.encode("utf-8")})
        assert refused.status_code == (400 if name == "comma" else 401), name
        assert refused.headers["www-authenticate"].startswith("Bearer")
        assert refused.json()["error_description"].isascii()


async def test_ui_01_an_error_is_named_only_when_a_token_was_sent(server: Server) -> None:
    given = await tokens_of(server)
    token = given["access_token"]
    nothing = await server.http.get("/userinfo")
    alone = await server.http.get("/userinfo", headers={"authorization": "Bearer"})
    for without in (nothing, alone):
        assert without.status_code == 401
        assert without.headers["www-authenticate"] == 'Bearer realm="api"', (
            "RFC 6750 §3 and §3.1: a parameter, no error"
        )
    head, body, _ = token.split(".")
    nears = [token[:-2], token + "x", f"{head}.{body}.", f"{head}.{body}", body, token.swapcase()]
    nears += [given["id_token"], given["refresh_token"], (await server.token()).secret]
    for near in nears:
        refused = await server.http.get("/userinfo", headers=bearer(near))
        assert refused.status_code == 401, near
        assert 'error="invalid_token"' in refused.headers["www-authenticate"]
    for method in ("GET", "POST"):
        assert (await server.http.request(method, "/userinfo", headers=bearer(token))).status_code == 200


@pytest.mark.parametrize("token", ["x", "a b", "wwo_" + "0" * 36, "a.b.c"])
async def test_ui_01_who_sends_a_token_with_dpop_is_answered_so(server: Server, token: str) -> None:
    """RFC 9449 §7.1: the challenge has the scheme DPoP, the error and the algorithms."""
    given = await tokens_of(server)
    assert (await server.http.get("/userinfo", headers=bearer(given["access_token"]))).status_code == 200
    refused = await server.http.get("/userinfo", headers={"authorization": f"DPoP {token}"})
    assert refused.status_code == 401
    challenge = refused.headers["www-authenticate"]
    assert challenge.startswith('DPoP error="invalid_token", error_description="')
    assert challenge.endswith(f'algs="{dpop.ALGS}"')
    bare = await server.http.get("/userinfo", headers={"authorization": "DPoP"})
    assert (bare.status_code, bare.headers["www-authenticate"]) == (
        401,
        f'DPoP algs="{dpop.ALGS}"',
    )


async def test_ui_02_a_token_in_the_address_is_refused(server: Server) -> None:
    token = (await tokens_of(server))["access_token"]
    assert (await server.http.get("/userinfo", headers=bearer(token))).status_code == 200
    for headers in ({}, bearer(token)):
        refused = await server.http.get("/userinfo", params={"access_token": token}, headers=headers)
        assert (refused.status_code, refused.json()["error"]) == (400, "invalid_request")
        assert token not in refused.text


async def test_ui_03_a_token_is_sent_in_one_way_once(server: Server) -> None:
    token = (await tokens_of(server))["access_token"]
    in_body = await server.http.post("/userinfo", data={"access_token": token})
    assert in_body.status_code == 200, "RFC 6750 §2.2, OpenID Connect Core §5.3.1"
    both = await server.http.post("/userinfo", data={"access_token": token}, headers=bearer(token))
    twice = await server.http.get("/userinfo", headers=[("authorization", f"Bearer {token}")] * 2)
    doubled = await server.http.post(
        "/userinfo",
        content=f"access_token={token}&access_token={token}",
        headers={"content-type": "application/x-www-form-urlencoded"},
    )
    for refused in (both, twice, doubled):
        assert (refused.status_code, refused.json()["error"]) == (400, "invalid_request")


async def test_ui_04_userinfo_tells_what_was_granted_and_to_nobody_else(server: Server) -> None:
    client = await register(server, scope="openid profile email orders:read")
    given = await tokens_of(server, client, scope="openid")
    info = await server.http.get("/userinfo", headers=bearer(given["access_token"]))
    assert info.json().keys() == {"sub"}
    machine = (await server.grant(await server.client(scope="orders:read"))).json()["access_token"]
    refused = await server.http.get("/userinfo", headers=bearer(machine))
    assert (refused.status_code, refused.json()["error"]) == (403, "insufficient_scope")
    assert 'scope="openid"' in refused.headers["www-authenticate"]
    posing = (await server.grant(await server.client(scope="openid profile"), scope="openid profile")).json()
    if "access_token" in posing:
        nobody = await server.http.get("/userinfo", headers=bearer(posing["access_token"]))
        assert nobody.status_code == 401, "a client is no person"
