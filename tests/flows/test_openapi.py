"""The OpenAPI document of the admin API says what the API does."""

import re

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
