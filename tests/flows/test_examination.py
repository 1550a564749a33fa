"""What a text that turned up somewhere is told to be: every kind of credential, in every state, without counting as a use."""

from typing import Any

import msgspec
import pytest
from tests.fixtures.accounts import user_of
from tests.fixtures.code_flow import obtain_code, redeem, refresh, register
from tests.fixtures.rows import in_turn
from tests.fixtures.servers import Server

from watchword.flows import api_tokens, examination
from watchword.flows.clients import client_metadata, client_registry
from watchword.jose import jwk, jwt
from watchword.oauth import token_format
from watchword.store import token_usage
from watchword.store.database import Transaction


async def found(server: Server, text: str) -> tuple[str, str]:
    finding = await examination.examine(server.runtime, text)
    return finding.name, finding.reason


async def access_token(server: Server, form: str, **given: Any) -> str:
    client = await server.client(access_token_format=form, **given)
    return str((await server.grant(client)).json()["access_token"])


async def test_an_api_token_is_told_with_its_owner_and_in_each_state(server: Server) -> None:
    issued = await server.token(expires_in=3600)
    finding = await examination.examine(server.runtime, issued.secret)
    assert (finding.name, finding.reason, finding.active) == ("a", "active", True)
    assert finding.token is not None
    assert (finding.token.id, finding.subject) == (issued.token.id, "application:reports")
    rotated = await api_tokens.rotate(server.runtime, issued.token.id, overlap=0, actor="test")
    assert await found(server, issued.secret) == ("a", "rotated")
    server.clock.advance(3600)
    assert await found(server, rotated.secret) == ("a", "expired")
    await api_tokens.revoke(server.runtime, issued.token.id, reason="compromised", actor="test")
    assert await found(server, rotated.secret) == ("a", "revoked")


async def test_the_limits_of_an_api_token_are_no_reason_to_call_it_dead_and_looking_is_no_use(
    server: Server,
) -> None:
    issued = await server.token(addresses=["192.0.2.0/24"], path="/orders", quota=1)
    for _ in range(3):
        assert await found(server, issued.secret) == ("a", "active")
    await server.runtime.usage.flush(server.runtime.database)
    (use,) = await server.runtime.database.read(token_usage.list_secret_uses, issued.token.id)
    assert use.outcomes == {}
    assert use.last_used_at is None


async def test_looking_at_a_token_begins_none_of_the_minutes_in_which_its_uses_are_counted(
    server: Server,
) -> None:
    issued = await server.token(rate_limit=1)
    headers = {"authorization": f"Bearer {issued.secret}"}

    async def use() -> int:
        return (await server.http.get("/api/v1/tokens/self", headers=headers)).status_code

    assert await found(server, issued.secret) == ("a", "active")
    server.clock.advance(59)
    assert await use() == 200
    server.clock.advance(1)
    assert await found(server, issued.secret) == ("a", "rate_limited")
    assert await use() != 200, "the minute began with the use"
    server.clock.advance(59)
    assert await use() == 200


@pytest.mark.parametrize(("form", "name"), [("opaque", "o"), ("jwt", "access_jwt")])
async def test_an_access_token_of_a_node_whose_clock_is_ahead_is_too_early(
    server: Server, form: str, name: str
) -> None:
    token = await access_token(server, form)
    server.clock.advance(-3600)
    assert await found(server, token) == (name, "too_early")
    server.clock.advance(3600)
    assert await found(server, token) == (name, "active")


@pytest.mark.parametrize(("form", "name"), [("opaque", "o"), ("jwt", "access_jwt")])
async def test_an_access_token_is_told_in_each_state(server: Server, form: str, name: str) -> None:
    client = await server.client(access_token_format=form)
    token = (await server.grant(client)).json()["access_token"]
    finding = await examination.examine(server.runtime, token)
    assert (finding.name, finding.reason) == (name, "active")
    assert finding.client_id == client.client.client_id
    assert finding.claims["scope"] == "orders:read orders:write"
    await server.post("/revoke", client, token=token)
    assert await found(server, token) == (name, "revoked")
    another = (await server.grant(client)).json()["access_token"]
    await client_registry.delete(server.runtime, client.client.client_id, actor="test")
    assert await found(server, another) == (name, "client_ended")


@pytest.mark.parametrize(("form", "name"), [("opaque", "o"), ("jwt", "access_jwt")])
async def test_an_access_token_ends_in_its_last_second(server: Server, form: str, name: str) -> None:
    token = await access_token(server, form)
    server.clock.advance(599)
    assert await found(server, token) == (name, "active")
    server.clock.advance(1)
    assert await found(server, token) == (name, "expired")


async def test_a_refresh_token_is_told_through_its_life_and_is_not_used_by_it(server: Server) -> None:
    client = await register(server)
    first = (await redeem(server, client, (await obtain_code(server, client))["code"])).json()[
        "refresh_token"
    ]
    for _ in range(2):
        assert await found(server, first) == ("r", "active")
    second = (await refresh(server, client, first)).json()["refresh_token"]
    server.clock.advance(60)
    assert await found(server, first) == ("r", "replaced")
    assert await found(server, second) == ("r", "active"), "looking at an old one burns nothing"
    await server.post("/revoke", client, token=second)
    assert await found(server, second) == ("r", "grant_ended")


async def test_a_refresh_token_that_waited_too_long_has_expired(server: Server) -> None:
    client = await register(server)
    token = (await redeem(server, client, (await obtain_code(server, client))["code"])).json()[
        "refresh_token"
    ]
    server.clock.advance(server.settings.refresh_token_idle)
    assert await found(server, token) == ("r", "expired")


@pytest.mark.parametrize(
    "taken",
    [{"grant_types": ["authorization_code"]}, {"scope": "profile orders:read"}, {"groups": ["staff"]}],
    ids=["the right to refresh", "a sign-in's scope", "everybody who is no member"],
)
async def test_a_refresh_token_does_not_work_whose_client_lost_what_it_needs(
    server: Server, taken: dict[str, Any]
) -> None:
    client = await register(server)
    given = (await redeem(server, client, (await obtain_code(server, client))["code"])).json()
    token = (await refresh(server, client, given["refresh_token"])).json()["refresh_token"]
    assert await found(server, token) == ("r", "active")
    changed = msgspec.structs.replace(client_metadata.to_input(client.client), **taken)
    client_id = client.client.client_id
    await client_registry.change(server.runtime, client_id, changed, expected_version=None, actor="test")
    assert await found(server, token) == ("r", "grant_ended")
    assert (await refresh(server, client, token)).status_code == 400


@pytest.mark.parametrize("form", ["opaque", "jwt"])
async def test_whose_an_access_token_was_is_told_of_one_that_has_ended(server: Server, form: str) -> None:
    client = await register(server, access_token_format=form, subject_type="pairwise")
    answer = (await redeem(server, client, (await obtain_code(server, client))["code"])).json()
    person, token = (await user_of(server)).id, answer["access_token"]

    async def told() -> tuple[str, str | None, str | None]:
        finding = await examination.examine(server.runtime, token)
        return finding.reason, finding.client_id, finding.subject

    whose = client.client.client_id, person
    assert await told() == ("active", *whose)
    for wrong, reason in ((-3600, "too_early"), (3600, "expired")):
        server.clock.advance(wrong)
        server.runtime.cache.clear()
        assert await told() == (reason, *whose)
        server.clock.advance(-wrong)
    await server.post("/revoke", client, token=token)
    assert await told() == ("revoked", *whose)


@pytest.mark.parametrize("jkt", [None, "A" * 43])
async def test_a_refresh_token_is_told_with_its_scope_and_whether_it_is_bound(
    server: Server, jkt: str | None
) -> None:
    client = await register(server)
    token = (await redeem(server, client, (await obtain_code(server, client))["code"])).json()[
        "refresh_token"
    ]

    async def bind(tx: Transaction) -> None:
        await tx.run("UPDATE grants SET jkt = $1", jkt)

    await server.runtime.database.write(bind)
    finding = await examination.examine(server.runtime, token)
    assert (finding.scope, finding.bound) == ("openid orders:read", jkt is not None)


async def test_an_id_token_is_no_access_token(server: Server) -> None:
    client = await register(server)
    answer = (await redeem(server, client, (await obtain_code(server, client))["code"])).json()
    assert await found(server, answer["access_token"]) == ("access_jwt", "active")
    assert await found(server, answer["id_token"]) == ("jwt", "other_type")


async def test_a_jwt_that_names_this_server_and_was_signed_elsewhere_is_forged(server: Server) -> None:
    token = await access_token(server, "jwt")
    claims = dict((await examination.examine(server.runtime, token)).claims)
    stranger = jwk.generate("ES256")
    assert await found(server, jwt.encode(stranger, claims, "at+jwt")) == ("jwt", "signature")
    elsewhere = jwt.encode(stranger, {**claims, "iss": "https://elsewhere.example"}, "at+jwt")
    assert await found(server, elsewhere) == ("jwt", "foreign")


async def test_nothing_that_a_strangers_jwt_says_is_told_as_if_it_were_known(server: Server) -> None:
    token = await access_token(server, "jwt")
    honest = await examination.examine(server.runtime, token)
    assert (honest.scope, honest.bound) == ("orders:read orders:write", False)
    said = {**honest.claims, "scope": "everything", "cnf": {"jkt": "A" * 43}}
    for forged in (said, {**said, "iss": "https://elsewhere.example"}):
        finding = await examination.examine(
            server.runtime, jwt.encode(jwk.generate("ES256"), forged, "at+jwt")
        )
        assert finding.claims == forged
        assert (finding.scope, finding.bound, finding.client_id, finding.subject) == (None, False, None, None)


async def test_a_jwt_that_was_cut_off_is_refused_for_its_signature(server: Server) -> None:
    token = await access_token(server, "jwt")
    assert await found(server, token) == ("access_jwt", "active")
    for lost in range(1, 9):
        assert await found(server, token[:-lost]) == ("jwt", "signature"), lost


async def test_a_jwt_of_this_server_that_lacks_a_claim_is_told_so(server: Server) -> None:
    token = await access_token(server, "jwt")
    claims = dict((await examination.examine(server.runtime, token)).claims)
    key = await server.runtime.keyring.signing_key("ES256")
    assert await found(server, jwt.encode(key, claims, "at+jwt")) == ("access_jwt", "active")
    del claims["client_id"]
    assert await found(server, jwt.encode(key, claims, "at+jwt")) == ("jwt", "malformed")
    now = server.runtime.now()
    early = {**claims, "client_id": "x", "iat": now + 900, "exp": now + 1800}
    assert await found(server, jwt.encode(key, early, "at+jwt")) == ("access_jwt", "too_early")


@in_turn("kind", sorted(set(token_format.KINDS) - {"a", "o", "r"}))
async def test_what_no_api_accepts_is_named_and_not_looked_up(server: Server, kind: str) -> None:
    credential = token_format.make("ww", kind, bytes(range(48)))
    assert await found(server, credential) == (kind, "elsewhere")


async def test_one_that_was_never_issued_or_was_cut_off_is_told_apart(server: Server) -> None:
    secret = (await server.token()).secret
    assert await found(server, token_format.make("ww", "a", bytes(range(48)))) == ("a", "unknown")
    assert await found(server, secret[:-1]) == ("a", "mistyped")
    assert await found(server, secret[:-1] + ("x" if secret[-1] != "x" else "y")) == ("a", "mistyped")


@in_turn(
    "around",
    [
        " {} ",
        "\n{}\n",
        "Bearer {}",
        "dpop {}",
        "Authorization: Bearer {}",
        '"{}",',
        "`{}`",
        "Bearer <{}>",
        "\ufeff{}\u200b",
    ],
)
async def test_what_was_copied_around_a_token_is_not_part_of_it(server: Server, around: str) -> None:
    secret = (await server.token()).secret
    assert await found(server, around.format(secret)) == ("a", "active")


@in_turn(
    "text",
    [
        "",
        " ",
        "hello",
        "two words",
        "a.b.c",
        "..",
        "ww",
        "wwa",
        "wwz_x",
        "\ud800",
        "\x00",
        "Bearer",
        "é.é.é",
        "x" * 70_000,
        "eyJhbGciOiJub25lIn0.e30.",
    ],
    ids=lambda text: ascii(text[:20]),
)
async def test_any_other_text_is_nothing_of_this_server(server: Server, text: str) -> None:
    assert (await found(server, text))[1] in ("nothing", "foreign")
