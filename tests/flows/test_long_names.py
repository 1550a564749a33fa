"""The lists of the admin API with the longest names and identifiers that there are."""

from tests.fixtures.servers import Server
from tests.store.made import client

from watchword.flows.clients import client_metadata, client_registry
from watchword.flows.users import accounts
from watchword.store import clients


async def _admin(server: Server) -> dict[str, str]:
    admin = await server.token(scope="watchword:admin", name="admin")
    return {"authorization": f"Bearer {admin.secret}"}


async def test_a_list_goes_on_after_the_longest_names(server: Server) -> None:
    for number in range(3):
        given = client_metadata.ClientInput(name=f"0{'ж' * 198}{number}")
        long_id = f"{number}{'~' * 199}"
        await client_registry.register(server.runtime, given, client_id=long_id, actor="test")
        await server.token(name=f"0{'ж' * 198}{number}")
    headers = await _admin(server)
    for path in ("/clients?search=", "/clients?search=0", "/tokens?search=0"):
        page = f"/api/v1{path}&limit=1"
        first = (await server.http.get(page, headers=headers)).json()
        second = await server.http.get(f"{page}&cursor={first['next']}", headers=headers)
        assert second.status_code == 200, second.text
        assert second.json() != first


async def test_the_longest_names_and_identifiers_are_found_when_they_are_written_out(server: Server) -> None:
    name, document = "n" * 200, f"https://app.example.com/{'a' * 700}"
    address = f"{'a' * 64}@{'.'.join(['b' * 61] * 3)}.cc"
    given = client_metadata.ClientInput(name=name)
    await client_registry.register(server.runtime, given, actor="test")
    made = client_metadata.to_client(given, document, origin="document")
    await server.runtime.database.write(clients.create_client, made, actor="test", now=server.runtime.now())
    await server.token(name=name)
    await accounts.create(server.runtime, username="ada", email=address, actor="test")
    headers = await _admin(server)
    described = (await server.http.get("/api/v1/openapi.json")).json()["paths"]
    (longest,) = {
        one["schema"]["maxLength"] for one in described["/api/v1/clients/{id}"]["get"]["parameters"]
    }
    assert len(document) <= longest, "what is generated from the description asks for no other"
    for members, what in (("clients", document), ("tokens", name), ("users", address)):
        query = {"search": what}
        answer = await server.http.get(f"/api/v1/{members}", params=query, headers=headers)
        assert answer.status_code == 200, answer.text
        assert len(answer.json()[members]) == 1


async def test_the_tokens_of_a_client_of_the_longest_identifier_are_found_and_ended(server: Server) -> None:
    headers, owner = await _admin(server), f"https://app.example.com/{'c' * 700}"
    made = client(owner, origin="document")
    assert await server.runtime.database.write(clients.create_client, made, actor="test", now=1)
    wanted = {"name": "a", "scope": "orders:read"}
    for named, status in ((owner, 201), ("a" * 200, 201), ("a" * 201, 400), ("a" * 801, 400)):
        answer = await server.http.post("/api/v1/tokens", json=wanted | {"owner": named}, headers=headers)
        assert answer.status_code == status, answer.text
    found = await server.http.get("/api/v1/tokens", params={"owner": owner}, headers=headers)
    assert found.status_code == 200, found.text
    ended = await server.http.post("/api/v1/tokens/revoke", json={"owner": owner}, headers=headers)
    assert ended.status_code == 200, ended.text
