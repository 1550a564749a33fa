"""The lists of the admin API with the longest names and identifiers that there are."""

from tests.fixtures.servers import Server

from watchword.flows import client_registry


async def test_a_list_goes_on_after_the_longest_names(server: Server) -> None:
    for number in range(3):
        given = client_registry.ClientInput(name=f"0{'ж' * 198}{number}")
        long_id = f"{number}{'~' * 199}"
        await client_registry.register(server.runtime, given, client_id=long_id, actor="test")
        await server.token(name=f"0{'ж' * 198}{number}")
    admin = await server.token(scope="watchword:admin", name="admin")
    headers = {"authorization": f"Bearer {admin.secret}"}
    for path in ("/clients?search=", "/clients?search=0", "/tokens?search=0"):
        page = f"/api/v1{path}&limit=1"
        first = (await server.http.get(page, headers=headers)).json()
        second = await server.http.get(f"{page}&cursor={first['next']}", headers=headers)
        assert second.status_code == 200, second.text
        assert second.json() != first
