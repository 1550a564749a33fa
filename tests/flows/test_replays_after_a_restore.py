"""RC-02, DP-51, LG-09: what is good once and was used after a backup is not taken again once that is restored."""

import os
from pathlib import Path

import pytest
from tests.fixtures.accounts import make
from tests.fixtures.servers import ISSUER, Server, basic, open_server
from tests.flows.test_backup import settings_of

from watchword.credentials import totp
from watchword.flows.clients.client_registry import Registered
from watchword.flows.databases import backup
from watchword.jose import jwk, jwt
from watchword.jose.jwk import Key
from watchword.store import factors


def signed(key: Key, client: Registered, now: int, **changes: object) -> dict[str, str]:
    """Return the form of a client that authenticates by an assertion; None leaves a claim out."""
    who = client.client.client_id
    claims = {
        "iss": who,
        "sub": who,
        "aud": ISSUER,
        "iat": now,
        "exp": now + 3000,
        "jti": os.urandom(8).hex(),
    }
    kept = {name: value for name, value in (claims | changes).items() if value is not None}
    return {
        "grant_type": "client_credentials",
        "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        "client_assertion": jwt.encode(key, kept),
    }


@pytest.mark.parametrize(
    ("left_out", "wait"),
    [
        pytest.param((), 91, id="with iat"),
        pytest.param(("iat",), 3031, id="without, which is told by its exp"),
    ],
)
@pytest.mark.parametrize("exact", [False, True], ids=["by default", "exactly as it was"])
async def test_rc_02_an_assertion_that_was_used_after_the_backup_is_not_taken_again(
    server: Server, tmp_path: Path, exact: bool, left_out: tuple[str, ...], wait: int
) -> None:
    key = jwk.generate("EdDSA")
    client = await server.client(
        token_endpoint_auth_method="private_key_jwt", jwks={"keys": [jwk.public_document(key)]}
    )
    without: dict[str, object] = dict.fromkeys(left_out)
    now = server.runtime.now()
    await backup.write_backup(settings_of(server), tmp_path / "b.gz", now)
    stolen = signed(key, client, now, **without)
    assert (await server.post("/token", **stolen)).status_code == 200
    assert (await server.post("/token", **stolen)).status_code == 401, "the honest rule: once"
    await server.app.close()
    await backup.restore_backup(settings_of(server), tmp_path / "b.gz", now, replace=True, exact=exact)
    same = {"database": server.settings.database, "key_file": server.settings.key_file}
    async with open_server(tmp_path, **same) as again:
        again.clock.now = float(now)
        assert (await again.post("/token", **stolen)).status_code == (200 if exact else 401)
        again.clock.advance(wait)
        assert (await again.post("/token", **stolen)).status_code == 401, "nor later"
        fresh = signed(key, client, again.runtime.now(), **without)
        assert (await again.post("/token", **fresh)).status_code == 200, "a bounded wait"
        assert (await again.post("/token", **fresh)).status_code == 401


async def test_dp_51_a_proof_that_was_used_after_the_backup_is_not_taken_again(
    server: Server, tmp_path: Path
) -> None:
    key, client = jwk.generate("ES256"), await server.client()

    async def ask(at: Server, dpop: str) -> int:
        headers = {"authorization": basic(client), "dpop": dpop}
        form = {"grant_type": "client_credentials"}
        return (await at.http.post("/token", data=form, headers=headers)).status_code

    def made(now: int) -> str:
        claims = {"jti": os.urandom(8).hex(), "htm": "POST", "htu": f"{ISSUER}/token", "iat": now}
        return jwt.encode_with_key(key, claims, "dpop+jwt")

    now = server.runtime.now()
    await backup.write_backup(settings_of(server), tmp_path / "b.gz", now)
    stolen = made(now)
    assert [await ask(server, stolen), await ask(server, stolen)] == [200, 400]
    await server.app.close()
    await backup.restore_backup(settings_of(server), tmp_path / "b.gz", now, replace=True)
    same = {"database": server.settings.database, "key_file": server.settings.key_file}
    async with open_server(tmp_path, **same) as again:
        again.clock.now = float(now)
        assert await ask(again, stolen) == 400
        again.clock.advance(31)
        assert await ask(again, stolen) == 400
        assert await ask(again, made(again.runtime.now())) == 200


async def test_lg_09_a_code_of_before_the_restore_is_not_taken_again(server: Server, tmp_path: Path) -> None:
    user, now = await make(server), server.runtime.now()
    enrolled = {"step": 0, "actor": "test", "now": now}
    await server.runtime.database.write(factors.add_totp, user.id, b"a sealed key", **enrolled)
    await backup.write_backup(settings_of(server), tmp_path / "b.gz", now)
    step = totp.step_at(now)
    assert await server.runtime.database.write(factors.use_totp_step, user.id, step, now)
    await server.app.close()
    await backup.restore_backup(settings_of(server), tmp_path / "b.gz", now, replace=True)
    same = {"database": server.settings.database, "key_file": server.settings.key_file}
    async with open_server(tmp_path, **same) as again:
        database = again.runtime.database
        assert not await database.write(factors.use_totp_step, user.id, step, now)
        assert await database.write(factors.use_totp_step, user.id, step + 1, now)
