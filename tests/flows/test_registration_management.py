"""RFC 7592: a client that registered itself reads, changes and deletes itself, and nobody else does."""

from typing import Any

import pytest
from tests.fixtures.code_flow import REDIRECT, answer_of, decide, sign_in
from tests.fixtures.registering import HONEST, bearer, begin, path_of, register, server
from tests.fixtures.rows import in_turn
from tests.fixtures.servers import Server
from tests.flows.test_first_sign_in import PASSWORD

from watchword.flows.users import accounts

__all__ = ["server"]


async def test_a_client_reads_changes_and_deletes_itself(server: Server) -> None:
    registered = (await register(server)).json()
    path, headers = path_of(registered), bearer(registered)
    shown = (await server.http.get(path, headers=headers)).json()
    assert shown == registered
    moved = HONEST | {"client_id": registered["client_id"], "redirect_uris": ["https://moved.example.com/cb"]}
    answer = await server.http.put(path, json=moved, headers=headers)
    assert answer.status_code == 200
    assert answer.json()["redirect_uris"] == ["https://moved.example.com/cb"]
    assert (await begin(server, registered["client_id"])).status_code == 400, "the old address is gone"
    gone = await server.http.delete(path, headers=headers)
    assert (gone.status_code, gone.content) == (204, b"")
    assert (await server.http.get(path, headers=headers)).status_code == 401
    assert (await begin(server, registered["client_id"])).status_code == 400


async def test_a_change_of_method_brings_and_takes_the_secret(server: Server) -> None:
    registered = (await register(server)).json()
    path, headers = path_of(registered), bearer(registered)
    wanted = HONEST | {"client_id": registered["client_id"]}
    confidential = wanted | {"token_endpoint_auth_method": "client_secret_post"}
    secret = (await server.http.put(path, json=confidential, headers=headers)).json()["client_secret"]
    again = await server.http.put(path, json=confidential | {"client_secret": secret}, headers=headers)
    assert (again.status_code, "client_secret" in again.json()) == (200, False)
    chosen = await server.http.put(path, json=confidential | {"client_secret": "mine"}, headers=headers)
    assert (chosen.status_code, chosen.json()["error"]) == (400, "invalid_client_metadata")
    form = {"token": "x", "client_id": registered["client_id"], "client_secret": secret}
    assert (await server.http.post("/revoke", data=form)).status_code == 200
    await server.http.put(path, json=wanted, headers=headers)
    await server.http.put(path, json=confidential, headers=headers)
    assert (await server.http.post("/revoke", data=form)).status_code == 401, "the old secret is dead"


@in_turn(
    "changes",
    [
        {"client_id": "another"},
        {"client_id": None},
        {"registration_access_token": "x"},
        {"registration_client_uri": "https://x.example"},
        {"client_secret_expires_at": 0},
        {"client_id_issued_at": 1},
        {"scope": "watchword:admin"},
        {"grant_types": ["client_credentials"]},
        {"redirect_uris": []},
    ],
    ids=str,
)
async def test_ad_05_a_replacement_obeys_the_rules_of_a_registration(
    server: Server, changes: dict[str, Any]
) -> None:
    registered = (await register(server)).json()
    path, headers = path_of(registered), bearer(registered)
    wanted = HONEST | {"client_id": registered["client_id"]}
    assert (await server.http.put(path, json=wanted, headers=headers)).status_code == 200
    bad = {name: value for name, value in (wanted | changes).items() if value is not None}
    refused = await server.http.put(path, json=bad, headers=headers)
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_client_metadata")


async def test_dc_05_nobody_else_manages_a_client(server: Server) -> None:
    registered, other = (await register(server)).json(), (await register(server)).json()
    path, token = path_of(registered), registered["registration_access_token"]
    assert (await server.http.get(path, headers=bearer(registered))).status_code == 200
    admin = await server.token(scope="watchword:admin")
    values = [
        None,
        "Bearer",
        "Bearer x",
        f"Bearer {token[:-1]}",
        f"Bearer {token}x",
        f"Bearer {other['registration_access_token']}",
        f"Bearer {admin.secret}",
        f"DPoP {token}",
        f"Basic {token}",
    ]
    for value in values:
        headers = {"authorization": value} if value else {}
        for method in ("GET", "PUT", "DELETE"):
            refused = await server.http.request(method, path, headers=headers, json=HONEST)
            assert refused.status_code == 401, (method, value)
            assert refused.headers["www-authenticate"].startswith("Bearer")
    for unknown in ("/register/client_x", "/register/%00", "/register/%ff", "/register/" + "a" * 5000):
        refused = await server.http.get(unknown, headers=bearer(registered))
        assert refused.status_code in (400, 401, 404), unknown
    hand_made = await server.client()
    refused = await server.http.get(f"/register/{hand_made.client.client_id}", headers=bearer(registered))
    assert refused.status_code == 401
    assert (await server.http.get(path, headers=bearer(registered))).status_code == 200, "it lives on"


OTHER = "https://other.example.com/cb"
CONFIDENTIAL = {"token_endpoint_auth_method": "client_secret_post"}


@pytest.mark.parametrize(
    ("before", "after", "uri"),
    [
        pytest.param(CONFIDENTIAL | {"redirect_uris": [REDIRECT, OTHER]}, CONFIDENTIAL, REDIRECT, id="seen"),
        pytest.param(
            CONFIDENTIAL | {"redirect_uris": [REDIRECT, OTHER]},
            CONFIDENTIAL | {"redirect_uris": [OTHER]},
            OTHER,
            id="not seen",
        ),
        pytest.param({}, CONFIDENTIAL, REDIRECT, id="public before"),
    ],
)
async def test_dc_07_a_consent_for_one_time_is_not_remembered_after_a_change(
    server: Server, before: dict[str, Any], after: dict[str, Any], uri: str
) -> None:
    registered = (await register(server, **before)).json()
    client_id, path, headers = registered["client_id"], path_of(registered), bearer(registered)
    await accounts.create(server.runtime, username="ada", password=PASSWORD, actor="test")
    back = await sign_in(server, await begin(server, client_id))
    assert "code" in answer_of(await decide(server, await server.http.get(back.headers["location"])))
    wanted = HONEST | {"client_id": client_id} | after
    assert (await server.http.put(path, json=wanted, headers=headers)).status_code == 200
    page = await begin(server, client_id, redirect_uri=uri)
    assert "A newcomer" in page.text, "the person is asked again"
    assert (await decide(server, page)).headers["location"].startswith(f"{uri}?code=")
    assert (await server.http.put(path, json=wanted, headers=headers)).status_code == 200
    silent = await begin(server, client_id, redirect_uri=uri, prompt="none")
    assert silent.headers["location"].startswith(f"{uri}?code="), "from then on it is remembered"
