"""SS-01: an issuer inside a private network is asked by the trust rule that names the network, and by nothing else."""

import ssl
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio
from cryptography import x509
from tests.fixtures.certificates import make, serving, trusting
from tests.fixtures.json_handler import JsonHandler, listen
from tests.fixtures.postgres import Store
from tests.fixtures.rows import in_turn
from tests.fixtures.servers import Server, open_server, refusal
from tests.fixtures.trusted_issuers import JWKS, identity, present, register, trust

from watchword.store import trust as store

HOST = "ci.internal.example"
INSIDE = ("127.0.0.0/8",)  # stands for the private network: where a test can listen


@pytest_asyncio.fixture
async def server(store: Store, tmp_path: Path) -> AsyncIterator[Server]:
    """The real application, for which every name is inside."""

    async def inside(host: str, port: int) -> Sequence[str]:
        return ["127.0.0.1"]

    async with open_server(tmp_path, on=store.address) as opened:
        opened.runtime.outbound.resolver = inside
        yield opened


@pytest.fixture
def issuer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An issuer inside, on a port of its own, and the authority that vouches for it."""
    authority = make(tmp_path, "authority", is_authority=True)
    shown = make(tmp_path, HOST, issuer=authority, names=(x509.DNSName(HOST),))
    trusted: ssl.SSLContext = trusting(authority)
    monkeypatch.setattr("watchword.fetch.request._trust", lambda: trusted)

    class Inside(JsonHandler):
        def get(self) -> tuple[int, Any]:
            return 200, {"issuer": address, "jwks_uri": f"{address}/jwks"} if "known" in self.path else JWKS

    listening = listen(Inside)
    listening.socket = serving(shown).wrap_socket(listening.socket, server_side=True)
    address = f"https://{HOST}:{listening.server_port}"
    yield address
    listening.shutdown()


async def trust_inside(server: Server, issuer: str, name: str, **given: Any) -> None:
    """Make a rule that names the network of this test, which nobody else could."""
    rule = await trust(server, name=f"draft {name}", issuer=issuer, jwks=None, **given)
    await server.runtime.database.write(store.delete_rule, rule.id, actor="test", now=0)
    named = msgspec.structs.replace(rule, name=name, networks=INSIDE)
    assert await server.runtime.database.write(store.create_rule, named)


@pytest.mark.parametrize("source", ["metadata", "jwks_uri"])
async def test_ss_01_only_the_rule_that_names_the_network_reaches_its_issuer(
    server: Server, issuer: str, source: str
) -> None:
    client = await register(server)
    keys = {} if source == "metadata" else {"jwks_uri": f"{issuer}/jwks"}
    await trust(server, name="outside", issuer=issuer, jwks=None, scope="read", **keys)
    assert refusal(await present(server, client, identity(server, iss=issuer))) == (
        503,
        "temporarily_unavailable",
    )
    await server.runtime.database.write(_forget)
    await trust_inside(server, issuer, "inside", **keys)
    assert (await present(server, client, identity(server, iss=issuer))).json()["scope"] == "deploy read"
    await server.runtime.database.write(_forget)
    await trust(server, name="outside", issuer=issuer, jwks=None, scope="read", **keys)
    server.clock.advance(31)
    again = await present(server, client, identity(server, iss=issuer))
    assert refusal(again) == (503, "temporarily_unavailable"), "nor by what another rule has fetched"


async def _forget(tx: Any) -> None:
    await tx.run("DELETE FROM trust_rules")


@in_turn(
    ("network", "accepted"),
    [
        ("10.20.0.0/16", True),
        ("10.20.0.7", True),
        ("fd12:3456::/32", True),
        ("10.20.0.1/16", False),
        ("everywhere", False),
        ("0.0.0.0/0", False),
        ("::/0", False),
        ("127.0.0.1", False),
        ("::1", False),
        ("169.254.169.254/32", False),
        ("168.63.129.16", False),
        ("fd00::/8", False),
        ("fe80::1%eth0", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:169.254.0.0/112", False),
        ("::ffff:0:0/96", False),
    ],
)
async def test_ss_01_a_rule_names_a_network_that_may_be_named(
    server: Server, network: str, accepted: bool
) -> None:
    admin = await server.token(scope="watchword:admin deploy")
    answer = await _create(server, admin.secret, networks=[network], name=f"deploy to {network}")
    if accepted:
        assert answer.json()["networks"] == [f"{network}/32" if network[-1] == "7" else network]
    else:
        assert (answer.status_code, answer.json()["field"]) == (400, "networks")


async def test_a_network_in_ipv6_notation_is_the_ipv4_network_that_it_is(server: Server) -> None:
    """RFC 4291 §2.5.5.2: no address that is fetched from would be in it."""
    admin = await server.token(scope="watchword:admin deploy")
    answer = await _create(server, admin.secret, networks=["::ffff:10.20.0.0/112", "::ffff:10.20.0.7"])
    assert answer.json()["networks"] == ["10.20.0.0/16", "10.20.0.7/32"]


async def test_ss_01_who_may_only_make_rules_names_no_network(server: Server) -> None:
    admin = await server.token(scope="watchword:admin deploy")
    maker = await server.token(scope="watchword:trust:write deploy")
    asked = {"networks": ["10.20.0.0/16"]}
    refused = await _create(server, maker.secret, **asked)
    assert (refused.status_code, refused.json()["error"]) == (403, "insufficient_scope")
    assert refused.json()["field"] == "networks"
    assert (await _create(server, maker.secret)).status_code == 201
    assert (await _create(server, admin.secret, name="inside", **asked)).status_code == 201, (
        "the honest variant"
    )


async def test_a_network_without_anything_to_fetch_is_a_mistake(server: Server) -> None:
    admin = await server.token(scope="watchword:admin deploy")
    refused = await _create(server, admin.secret, networks=["10.20.0.0/16"], jwks=JWKS)
    assert (refused.status_code, refused.json()["field"]) == (400, "networks")


async def _create(server: Server, token: str, **given: Any) -> Any:
    wanted = {
        "name": "deploy", "issuer": f"https://{HOST}", "scope": "deploy", "subject": "ci:{repository}",
        "claims": {"repository": "acme/app"},
    }  # fmt: skip
    headers = {"authorization": f"Bearer {token}"}
    return await server.http.post("/api/v1/trust", json=wanted | given, headers=headers)
