"""The OpenAPI document of the admin API says what the API does."""

import re

import pytest
from tests.attacks.test_administration import SCOPES, call, place
from tests.fixtures.servers import Server

from watchword.http.operation import BASE


async def test_the_openapi_document_names_the_scope_that_each_operation_enforces(server: Server) -> None:
    document = (await server.http.get(f"{BASE}/openapi.json")).json()
    named, enforced = {}, {}
    for path, operations in document["paths"].items():
        for method, described in operations.items():
            token = await server.token(scope="orders:read")  # one each: it may end itself
            body = {} if "requestBody" in described else None
            answer = await call(server, token, method.upper(), place(path.removeprefix(BASE)), body)
            needed = re.search('scope="([^"]*)"', answer.headers.get("www-authenticate", ""))
            enforced[method, path] = [{"token": needed[1].split() if needed else []}]
            named[method, path] = described.get("security", document["security"])
    assert named == enforced
    assert len({str(one) for one in named.values()}) == len(SCOPES) + 1, "and some need none"
    schemas = document["components"]["schemas"]
    assert all(name.isalpha() for name in schemas), "generated clients name their classes by them"


@pytest.mark.parametrize(
    ("method", "path", "status", "required"),
    [
        pytest.param("POST", "/tokens/{id}/revoke", 200, False, id="a reason is optional"),
        pytest.param("POST", "/tokens/{id}/rotate", 200, False, id="an overlap is optional"),
        pytest.param("POST", "/tokens", 400, True, id="a token has a name"),
    ],
)
async def test_who_states_nothing_sends_no_body(
    server: Server, method: str, path: str, status: int, required: bool
) -> None:
    admin, other = await server.token(scope="watchword:admin"), await server.token()
    document = (await server.http.get(f"{BASE}/openapi.json")).json()
    described = document["paths"][BASE + path][method.lower()]
    assert described["requestBody"]["required"] is required
    answer = await server.http.request(
        method,
        BASE + path.replace("{id}", other.token.id),
        headers={"authorization": f"Bearer {admin.secret}"},
    )
    assert answer.status_code == status
    if required:
        assert (answer.json()["error"], answer.json()["field"]) == ("invalid_request", "name")
