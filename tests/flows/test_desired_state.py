"""A described state on both databases: who is left alone, what ends, and what comes of two who apply at once."""

import tomllib
from typing import Any

import pytest
from tests.fixtures.servers import Server
from tests.fixtures.trusted_issuers import CI, JWKS, identity, look, present, register, server
from tests.unit.flows.desired.test_clients import KINDS

from watchword.cli import description, toml_text
from watchword.flows.clients import client_registry
from watchword.flows.clients.client_metadata import ClientInput
from watchword.flows.desired import state
from watchword.flows.desired.clients import Keep
from watchword.flows.desired.state import Plan
from watchword.oauth.errors import OAuthError
from watchword.store.audit import events

__all__ = ["server"]

CLIENT = {"client_id": "billing", "name": "Billing", "scope": "orders:read"}
RULE = {
    "name": "deploy",
    "issuer": CI,
    "scope": "deploy read",
    "subject": "ci:{repository}",
    "claims": {"repository": "acme/*", "ref": "refs/heads/main"},
    "jwks": JWKS,
}


def forget(_client_id: str, _secret: str) -> None:
    """Keep no secret: the test needs none."""


async def planned(server: Server, prune: bool = False, keep: Keep | None = None, **sections: Any) -> Plan:
    wanted = state.read(sections)
    return await state.plan(server.runtime, wanted, prune=prune, keep=keep, actor="operator")


async def test_a_described_client_gets_tokens_with_the_secret_that_was_made(server: Server) -> None:
    kept: dict[str, str] = {}
    await state.perform(await planned(server, keep=kept.__setitem__, clients=[CLIENT]))
    answer = await server.http.post(
        "/token", data={"grant_type": "client_credentials"}, auth=("billing", kept["billing"])
    )
    assert (answer.status_code, answer.json()["scope"]) == (200, "orders:read")


async def test_no_secret_works_that_was_not_kept(server: Server) -> None:
    def lose(_client_id: str, _secret: str) -> None:
        raise OAuthError("conflict", "There is no room.")

    with pytest.raises(OAuthError, match="conflict"):
        await state.perform(await planned(server, keep=lose, clients=[CLIENT]))
    assert await client_registry.secrets_of(server.runtime, "billing") == []
    assert (await planned(server, keep=forget, clients=[CLIENT])).steps[0].makes_secret


async def test_a_client_that_is_described_as_disabled_is_so_from_its_first_moment(server: Server) -> None:
    kept: dict[str, str] = {}
    off = CLIENT | {"disabled": True}
    await state.perform(await planned(server, keep=kept.__setitem__, clients=[off]))
    found = await server.runtime.database.read(events.list_events, limit=100)
    assert not [event for event in found if event.name == "client.updated"]
    form = {"grant_type": "client_credentials"}
    assert (await server.http.post("/token", data=form, auth=("billing", kept["billing"]))).status_code == 401
    assert (await planned(server, clients=[off])).steps == ()
    await state.perform(await planned(server, clients=[CLIENT]))
    assert (await server.http.post("/token", data=form, auth=("billing", kept["billing"]))).status_code == 200


RULES: list[dict[str, Any]] = [
    RULE,
    {
        "name": 'cluster "a"',
        "issuer": "https://kubernetes.default.svc",
        "scope": "read",
        "subject": "k8s:{sub}",
        "claims": {"sub": "system:serviceaccount:shop:*"},
        "audience": "https://auth.example.com/other",
        "jwks_uri": "https://10.0.0.1:6443/openid/v1/jwks",
        "networks": ["10.0.0.0/24"],
        "resources": ["https://api.example.com"],
        "clients": ["billing"],
        "algorithms": ["ES256"],
        "max_lifetime": 60,
        "token_lifetime": 30,
    },
    {
        "name": "staff",
        "issuer": "https://idp.example",
        "kind": "people",
        "scope": "read",
        "email_domains": ["Example.com"],
    },
    {
        "name": "guests",
        "issuer": "https://idp.example",
        "kind": "people",
        "scope": "read",
        "subject": "g:{sub}",
    },
]


async def test_what_was_described_or_exported_is_applied_once_whatever_its_kind(server: Server) -> None:
    described = [{"client_id": f"c{number}", "name": "A"} | kind for number, kind in enumerate(KINDS)]
    await state.perform(await planned(server, keep=forget, clients=described, trust=RULES))
    again = await planned(server, keep=forget, prune=True, clients=described, trust=RULES)
    assert (again.steps, again.unchanged) == ((), len(KINDS) + len(RULES))
    found = await state.describe(server.runtime)
    exported = tomllib.loads(
        toml_text.tables({section: description.entries(section, found) for section in state.SECTIONS})
    )
    assert (await planned(server, keep=forget, prune=True, **exported)).steps == ()


async def test_no_key_that_tells_a_secret_is_kept_with_a_rule(server: Server) -> None:
    for secret in ({"kty": "oct", "k": "c2VjcmV0"}, {"kty": "OKP", "crv": "X25519", "x": "AA", "d": "AA"}):
        with pytest.raises(OAuthError, match="invalid_request"):
            await planned(server, trust=[RULE | {"jwks": {"keys": [*JWKS["keys"], secret]}}])


async def test_a_client_whose_secrets_have_ended_gets_one_and_no_other(server: Server) -> None:
    await state.perform(await planned(server, keep=forget, clients=[CLIENT]))
    assert (await planned(server, keep=forget, clients=[CLIENT])).steps == ()
    held = await client_registry.secrets_of(server.runtime, "billing")
    await client_registry.remove_secret(server.runtime, "billing", held[0].id, actor="test")
    assert (await planned(server, clients=[CLIENT])).steps == ()
    (step,) = (await planned(server, keep=forget, clients=[CLIENT])).steps
    assert (step.action, step.differences.after, step.makes_secret) == ("change", {}, True)


@pytest.mark.parametrize("origin", ["dynamic", "document"])
async def test_a_client_that_no_administrator_registered_is_neither_changed_nor_pruned(
    server: Server, origin: Any
) -> None:
    given = ClientInput(name="Newcomer", scope="orders:read")
    await client_registry.register(
        server.runtime, given, actor="newcomer", client_id="newcomer", origin=origin
    )
    plan = await planned(server, prune=True, clients=[CLIENT])
    assert [step.action for step in plan.steps] == ["create"]
    await state.perform(plan)
    assert (await planned(server, prune=True, clients=[CLIENT])).steps == ()
    with pytest.raises(OAuthError, match="conflict"):
        await planned(server, clients=[CLIENT | {"client_id": "newcomer"}])


async def test_of_two_who_apply_at_once_one_is_told_to_look_again(server: Server) -> None:
    for wanted in (CLIENT, CLIENT | {"scope": "orders:write"}):
        first, second = await planned(server, clients=[wanted]), await planned(server, clients=[wanted])
        await state.perform(first)
        with pytest.raises(OAuthError, match=r"conflict|precondition_failed"):
            await state.perform(second)
    for rule in (RULE, RULE | {"scope": "deploy"}):
        first, second = await planned(server, trust=[rule]), await planned(server, trust=[rule])
        await state.perform(first)
        with pytest.raises(OAuthError, match=r"conflict|precondition_failed"):
            await state.perform(second)
    assert (await planned(server, trust=[RULE | {"scope": "deploy"}])).unchanged == 1


async def test_a_run_that_was_cut_short_is_finished_by_the_next(server: Server) -> None:
    sections = {"clients": [CLIENT, CLIENT | {"client_id": "web"}], "trust": [RULE]}
    plan = await planned(server, **sections)
    await plan.steps[0].perform()
    rest = await planned(server, **sections)
    assert ([step.name for step in rest.steps], rest.unchanged) == (["web", "deploy"], 1)
    await state.perform(rest)
    assert (await planned(server, **sections)).steps == ()


async def test_what_a_rule_gave_ends_when_the_rule_changes_and_not_when_it_stays(server: Server) -> None:
    await state.perform(await planned(server, trust=[RULE]))
    client = await register(server)
    token = (await present(server, client, identity(server))).json()["access_token"]
    await state.perform(await planned(server, trust=[RULE]))
    assert (await look(server, client, token))["active"] is True
    narrower = RULE | {"claims": {"repository": "acme/other", "ref": "refs/heads/main"}}
    await state.perform(await planned(server, trust=[narrower]))
    assert (await look(server, client, token))["active"] is False
    assert (await present(server, client, identity(server))).status_code == 400


async def test_every_change_is_in_the_audit_trail_under_who_made_it(server: Server) -> None:
    await state.perform(await planned(server, clients=[CLIENT], trust=[RULE]))
    await state.perform(
        await planned(server, clients=[CLIENT | {"scope": ""}], trust=[RULE | {"scope": "deploy"}])
    )
    await state.perform(await planned(server, prune=True, clients=[], trust=[]))
    found = await server.runtime.database.read(events.list_events, limit=100)
    by_operator = [event.name for event in found if event.actor == "operator"]
    assert sorted(by_operator) == [
        "client.created",
        "client.deleted",
        "client.updated",
        "trust.created",
        "trust.created",
        "trust.deleted",
        "trust.deleted",
    ]
