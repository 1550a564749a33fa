"""F-06: one bit of a row that carries a right is flipped where SQLite keeps it; nobody gains a right without `watchword doctor --data` saying so.

A bit in the value of a column, in the header of the row or in its length: the file stays well-formed for most of them, and the server
serves what it reads. It may refuse, or say that the store is damaged; whatever it answers otherwise than before, the doctor names.
"""

import json
import random
import shutil
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.drills import bits
from tests.drills.conftest import HEAVY, Drill
from tests.drills.mutants import NAME
from tests.fixtures.accounts import another, user_of
from tests.fixtures.code_flow import answer_of, obtain_code, redeem, refresh, register, request
from tests.fixtures.commands import run_cli
from tests.fixtures.servers import ISSUER, Server, basic, open_server
from tests.flows.test_first_sign_in import PASSWORD, csrf_of

from watchword.flows import api_tokens, sessions
from watchword.flows.trust import trust_rules
from watchword.flows.trust.trust_rules import TrustInput
from watchword.flows.users import account_changes, accounts
from watchword.jose import jwk
from watchword.settings import SettingsError
from watchword.store import sessions as store_sessions
from watchword.store.database import StorageUnavailable
from watchword.store.sessions import Session
from watchword.store.users import User

OF_EACH_ROW = 400 if HEAVY else 1
LASTING = 86_400  # what expires before the last copy is asked would be refused whatever was flipped
LIVE = "(SELECT id FROM grants WHERE ended_at IS NULL)"
ROWS: dict[str, tuple[str, str]] = {
    "an API token": ("api_tokens", "name = 'narrow'"),
    "a revoked API token": ("api_tokens", "name = 'revoked'"),
    "a secret of an API token": (
        "api_token_secrets",
        "token_id = (SELECT id FROM api_tokens WHERE name = 'narrow')",
    ),
    "a person": ("users", "username = 'ada'"),
    "a disabled person": ("users", "username = 'bob'"),
    "a client": ("clients", "name = 'app'"),
    "an access token": ("access_tokens", f"revoked_at IS NULL AND grant_id = {LIVE}"),
    "a revoked access token": ("access_tokens", "revoked_at IS NOT NULL"),
    "a grant": ("grants", "ended_at IS NULL"),
    "an ended grant": ("grants", "ended_at IS NOT NULL"),
    "a session": ("sessions", "ended_at IS NULL AND user_agent = 'ada'"),
    "an ended session": ("sessions", "ended_at IS NOT NULL"),
    "a trusted issuer": ("trust_rules", "name = 'ci'"),
}
# What an answer says of rights. Of a single access token the trail tells nothing: its claims, its audience and its end within a day.
WORTH = {"scope", "client_id", "resource", "owner", "owner_kind", "state", "expires_at", "parent", "addresses", "path", "jkt",
         "rate_limit", "quota", "is_admin", "disabled_at"}  # fmt: skip
# Of a document every member counts, but not what is kept beside it.
BESIDE = {"created_at", "last_used_at", "version", "secrets", "id"}
DEAD = ["ended access token", "ended refresh token", "ended session", "narrow token from afar", "revoked access token", "revoked token",
        "revoked token from afar"]  # fmt: skip
KEY = jwk.generate("ES256")
Answers = dict[str, Any]


@dataclass(slots=True)
class Original:
    """A database at rest, and who may ask it what."""

    folder: Path
    admin: str = ""
    client: str = ""
    tokens: dict[str, str] = field(default_factory=dict)  # API tokens, by name
    access: dict[str, str] = field(default_factory=dict)
    refresh: dict[str, str] = field(default_factory=dict)
    cookies: dict[str, str] = field(default_factory=dict)
    seen: dict[str, str] = field(default_factory=dict)  # what the administrator looks at


@pytest.fixture
async def original(tmp_path: Path) -> Original:
    """A database with a live and an ended one of everything."""
    made = Original(tmp_path / "original")
    made.folder.mkdir()
    key = str(made.folder / "key")
    async with open_server(made.folder, key_file=key, access_token_lifetime=LASTING) as server:
        await _api_tokens(server, made)
        await _people(server, made)
    (made.folder / NAME).chmod(0o600)
    return made


async def _api_tokens(server: Server, made: Original) -> None:
    made.admin = (await server.token("watchword:admin", name="admin")).secret
    for name in ("narrow", "revoked"):
        issued = await server.token(name=name, expires_in=LASTING, addresses=["127.0.0.0/8"])
        made.tokens[name] = issued.secret
        made.seen[f"the API token {name}"] = f"/api/v1/tokens/{issued.token.id}"
    await api_tokens.revoke(server.runtime, issued.token.id, actor="test")
    rule = TrustInput(name="ci", issuer="https://ci.example", scope="orders:read", subject="ci:{ref}", claims={"ref": "main"}, jwks={"keys": [jwk.public_document(KEY)]})  # fmt: skip
    await trust_rules.create(server.runtime, rule, actor="test")
    made.seen["the trusted issuer"] = "/api/v1/trust/ci"


async def _people(server: Server, made: Original) -> None:
    """Let a person grant twice, and end one of each of what came of it."""
    client = await register(server, name="app", access_token_format="opaque")
    server.http.headers["user-agent"] = "ada"
    code = (await obtain_code(server, client))["code"]
    again = answer_of(await server.http.get("/authorize", params=request(client)))["code"]
    for name, one in (("live", code), ("ended", again)):
        tokens = (await redeem(server, client, one)).json()
        made.access[name], made.refresh[name] = tokens["access_token"], tokens["refresh_token"]
    revoked = (await refresh(server, client, made.refresh["live"])).json()
    made.access["revoked"], made.refresh["live"] = revoked["access_token"], revoked["refresh_token"]
    for token in (made.access["revoked"], made.refresh["ended"]):
        assert (await server.post("/revoke", client, token=token)).status_code == 200
    made.client = basic(client)
    made.cookies["live"] = server.http.cookies["ww-session"]
    async with another(server, "elsewhere") as browser:
        page = await browser.get("/sign-in")
        form = {"csrf": csrf_of(page.text), "identifier": "ada", "password": PASSWORD}
        await browser.post("/sign-in", data=form)
        made.cookies["ended"] = browser.cookies["ww-session"]
    ada = await user_of(server)
    (ended,) = [one for one in await list_sessions(server, ada) if one.user_agent == "elsewhere"]
    await sessions.end(server.runtime, ended)
    bob = await accounts.create(server.runtime, username="bob", password=PASSWORD, actor="test")
    await account_changes.set_disabled(server.runtime, bob, True, actor="test")
    for name, user in (("ada", ada), ("bob", bob)):
        made.seen[name] = f"/api/v1/users/{user.id}"
    made.seen["the client"] = f"/api/v1/clients/{client.client.client_id}"


async def list_sessions(server: Server, user: User) -> list[Session]:
    """Return a person's live sessions."""
    now = server.runtime.now()
    return list(await server.runtime.database.read(store_sessions.list_sessions, user_id=user.id, now=now))


# what is asked of a server on a copy


async def answers(folder: Path, original: Original) -> Answers:
    """Return what a server says of every right that is known; only "unavailable" where it says that the store is damaged."""
    try:
        async with open_server(folder, key_file=str(folder / "key")) as server:
            found = {name: _plain(name, answer) async for name, answer in ask(server, original)}
    except (StorageUnavailable, SettingsError) as error:
        return {"the start": f"unavailable: {error}"}
    return found


async def ask(server: Server, original: Original) -> AsyncIterator[tuple[str, httpx.Response]]:
    """Ask for everything once."""
    http, administrator = server.http, bearer(original.admin)
    for name, address in original.seen.items():
        yield name, await http.get(address, headers=administrator)
    for name, token in original.tokens.items():
        yield f"{name} token", await http.get("/api/v1/tokens/self", headers=bearer(token))
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app=server.app, client=("192.0.2.1", 50_000)), base_url=ISSUER
        ) as far:
            yield f"{name} token from afar", await far.get("/api/v1/tokens/self", headers=bearer(token))
    for name, token in original.access.items():
        yield (
            f"{name} access token",
            await http.post("/introspect", data={"token": token}, headers={"authorization": original.client}),
        )
    for name, cookie in original.cookies.items():
        yield f"{name} session", await http.get("/account", headers={"cookie": f"ww-session={cookie}"})
    for name, token in original.refresh.items():
        form = {"grant_type": "refresh_token", "refresh_token": token}
        yield (
            f"{name} refresh token",
            await http.post("/token", data=form, headers={"authorization": original.client}),
        )


def bearer(token: str) -> dict[str, str]:
    """Return the header that presents a token."""
    return {"authorization": f"Bearer {token}"}


def _plain(name: str, answer: httpx.Response) -> object:
    """Return what an answer says of rights."""
    if answer.status_code == 503 and answer.headers["retry-after"]:
        return "unavailable"
    if answer.status_code >= 500:
        return "failed"
    if answer.status_code != 200:
        return "refused"
    if not answer.headers["content-type"].startswith("application/json"):
        return "a page"
    document = answer.json()
    if document.get("active") is False:
        return "refused"
    if name in ("the client", "the trusted issuer"):
        return {key: value for key, value in document.items() if key not in BESIDE}
    return {key: key == "disabled_at" or value for key, value in document.items() if key in WORTH}


def changed(before: Answers, after: Answers) -> dict[str, tuple[object, object]]:
    """Return what is answered otherwise, and neither refused nor unavailable."""
    return {
        name: (before[name], said)
        for name, said in after.items()
        if name in before
        and said != before[name]
        and said not in ("refused", "failed")
        and not str(said).startswith("unavailable")
    }


def diagnose(folder: Path) -> list[str]:
    """Return what `watchword doctor --data` says of a copy."""
    variables = {"WATCHWORD_DATABASE": str(folder / NAME), "WATCHWORD_KEY_FILE": str(folder / "key")}
    done = run_cli(folder, "doctor", "--data", "--json", variables=variables | {"WATCHWORD_ISSUER": ISSUER})
    assert "Traceback" not in done.stderr, done.stderr
    return [one["message"] for one in json.loads(done.stdout)["findings"] if one["level"] == "broken"]


def copied(original: Original, name: str) -> Path:
    """Return a copy of the database and its key."""
    folder = original.folder.with_name(name)
    shutil.copytree(original.folder, folder)
    return folder


@pytest.mark.timeout(3600)
async def test_f_06_nobody_gains_a_right_by_a_flipped_bit_of_which_the_doctor_knows_nothing(
    original: Original, drill: Drill
) -> None:
    assert diagnose(copied(original, "sound")) == []
    before, tally, wrong = await answers(copied(original, "as it was"), original), Counter[str](), []
    assert sorted(name for name, said in before.items() if said == "refused") == DEAD
    for row, (table, which) in ROWS.items():
        cell = bits.row_of(original.folder / NAME, table, which)
        chance = random.Random(row)
        for n in range(OF_EACH_ROW):
            folder, place, bit = copied(original, f"{row} {n}"), chance.choice(cell), chance.randrange(8)
            bits.flip(folder / NAME, place, bit)
            shutil.copytree(folder, folder / "again")
            after = await answers(folder, original)
            otherwise = changed(before, after)
            named = diagnose(folder / "again") if otherwise else []
            failed = [name for name, said in after.items() if said == "failed"]
            if failed or (otherwise and not named):
                wrong.append(f"bit {bit} of byte {place - cell.start} of {row}: {failed or otherwise}")
            tally[outcome(before, after, bool(named))] += 1
            shutil.rmtree(folder)
        drill.say(f"{row}: {dict(tally)}")
    assert not wrong, "\n".join(wrong)


def outcome(before: Answers, after: Answers, named: bool) -> str:
    """Say in a word what became of a flipped bit."""
    if changed(before, after):
        return "otherwise, and named" if named else "otherwise, and not named"
    said = {str(one).partition(":")[0] for name, one in after.items() if one != before.get(name)}
    return "nothing" if not said else " or ".join(sorted(said))
