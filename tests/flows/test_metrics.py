"""Metrics are there for who may read them."""

from tests.fixtures.servers import Server


async def test_metrics_are_counted_and_need_their_scope(server: Server) -> None:
    client = await server.client()
    assert (await server.grant(client)).status_code == 200
    reader = await server.token(scope="watchword:metrics:read")
    shown = await server.http.get("/metrics", headers={"authorization": f"Bearer {reader.secret}"})
    assert shown.status_code == 200
    assert 'watchword_tokens_issued_total{operation="client_credentials",outcome=""}' in shown.text
    assert (await server.http.get("/metrics")).status_code == 401, "AD-08"
    other = await server.token(scope="orders:read")
    refused = await server.http.get("/metrics", headers={"authorization": f"Bearer {other.secret}"})
    assert refused.status_code == 403
