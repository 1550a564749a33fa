"""Damaged copies of a database: how they are made, and what a server that opens one says of what is known to be so.

`python -m tests.drills.mutants` forks for each copy that is named on its input, so that a crash of the interpreter would be seen and the
imports are made once; what the child found is in `found.json` beside the copy, and what a person would see in `shown`.
"""

import asyncio
import base64
import json
import os
import random
import shutil
import signal
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import httpx
import msgspec

from watchword.app import App
from watchword.settings import Settings, SettingsError
from watchword.store.database import StorageUnavailable

PAGE = 4096
NAME = "watchword.db"
PATIENCE = 60
Damage = Callable[[random.Random, Path, Path], None]


class Known(msgspec.Struct):
    """What is so in the database that is damaged: which credentials are alive, and whose people there are."""

    issuer: str
    client: tuple[str, str]
    admin_token: str
    people: list[str]
    tokens: list[tuple[str, bool]]
    api_tokens: list[tuple[str, bool]]
    refresh_tokens: list[tuple[str, bool]]


@dataclass(slots=True)
class Found:
    """What a server made of a damaged copy; `refused` says why it did not start."""

    refused: str = ""
    known_dead: int = 0
    right: int = 0
    unavailable: int = 0
    denied: list[str] = field(default_factory=list)  # alive, and refused
    revived: list[str] = field(default_factory=list)  # ended, and accepted
    changed: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)  # neither an answer nor an honest 503


# how copies are damaged; the folder before is the same database at an earlier time


def flip_a_byte(chance: random.Random, file: Path, before: Path) -> None:
    flip(chance, file, chance.randrange(1, 256))


def flip_a_bit(chance: random.Random, file: Path, before: Path) -> None:
    flip(chance, file, 1 << chance.randrange(8))


def flip(chance: random.Random, file: Path, mask: int) -> None:
    """Change the bits of a mask in some byte of some page; where there is nothing but zeros there is nothing to lose."""
    data, page = file.read_bytes(), some_page(chance, file)
    used = [offset for offset in range(page, page + PAGE) if data[offset]] or [page]
    offset = chance.choice(used)
    overwrite(file, offset, bytes([data[offset] ^ mask]))


def overwrite(file: Path, offset: int, data: bytes) -> None:
    """Write over a part of a file."""
    with file.open("r+b") as stream:
        stream.seek(offset)
        stream.write(data)


def some_page(chance: random.Random, file: Path) -> int:
    """Return where some page begins."""
    return chance.randrange(file.stat().st_size // PAGE) * PAGE


def zero_a_page(chance: random.Random, file: Path, before: Path) -> None:
    overwrite(file, some_page(chance, file), bytes(PAGE))


def fill_a_sector(chance: random.Random, file: Path, before: Path) -> None:
    overwrite(file, some_page(chance, file) + 512 * chance.randrange(8), chance.randbytes(512))


def misplace_a_page(chance: random.Random, file: Path, before: Path) -> None:
    source = some_page(chance, file)
    overwrite(file, some_page(chance, file), file.read_bytes()[source : source + PAGE])


def bring_back_a_page(chance: random.Random, file: Path, before: Path) -> None:
    old = (before / NAME).read_bytes()
    start = chance.randrange(len(old) // PAGE) * PAGE
    overwrite(file, start, old[start : start + PAGE])


def cut_off(chance: random.Random, file: Path, before: Path) -> None:
    os.truncate(file, chance.choice((0, chance.randrange(file.stat().st_size), some_page(chance, file))))


def lose(chance: random.Random, file: Path, before: Path) -> None:
    file.unlink()


OF_THE_FILE: dict[str, Damage] = {
    "a byte is flipped": flip_a_byte,
    "a bit is flipped": flip_a_bit,
    "a page is zeroed": zero_a_page,
    "a sector is filled with noise": fill_a_sector,
    "a page is written to another's place": misplace_a_page,
    "a page is as it was before": bring_back_a_page,
    "the file is cut off": cut_off,
}
OF_THE_LOG: dict[str, Damage] = {
    "a byte of the log is flipped": flip_a_byte,
    "a page of the log is zeroed": zero_a_page,
    "the log is cut off": cut_off,
    "the log is deleted": lose,
}


def copy(source: Path, target: Path) -> Path:
    """Copy a database with its key and its log into a fresh folder."""
    target.mkdir()
    for name in (NAME, f"{NAME}-wal", "key"):
        if (source / name).exists():
            shutil.copy2(source / name, target / name)
    return target


# what is asked of a server on a damaged copy


async def examine(folder: Path, known: Known) -> Found:
    """Open a copy as a server does and ask it for all that is known."""
    settings = Settings(
        issuer=known.issuer, database=str(folder / NAME), key_file=str(folder / "key"), jobs=False
    )
    app = App(settings, durable=False)
    try:
        await app.open()
    except (StorageUnavailable, SettingsError) as error:
        return Found(refused=str(error))
    credentials = known.tokens + known.api_tokens + known.refresh_tokens
    found = Found(known_dead=sum(not alive for _, alive in credentials))
    transport = httpx.ASGITransport(app=app, client=("127.0.0.1", 50_000))
    async with httpx.AsyncClient(transport=transport, base_url=known.issuer) as http:
        await _ask(http, known, found)
    try:
        await app.close()
    except StorageUnavailable:
        found.unavailable += 1
    return found


async def _ask(http: httpx.AsyncClient, known: Known, found: Found) -> None:
    client = "Basic " + base64.b64encode(":".join(known.client).encode()).decode()
    for token, alive in known.tokens:
        answer = await http.post("/introspect", data={"token": token}, headers={"authorization": client})
        _judge(found, "an access token", answer, alive, answer.status_code == 200 and answer.json()["active"])
    for token, alive in known.api_tokens:
        answer = await http.get("/api/v1/tokens/self", headers={"authorization": f"Bearer {token}"})
        _judge(found, "an API token", answer, alive, answer.status_code == 200)
    answer = await http.get("/api/v1/users", headers={"authorization": f"Bearer {known.admin_token}"})
    _judge(found, "the administrator", answer, True, answer.status_code == 200)
    if answer.status_code == 200:
        names = sorted(user["username"] for user in answer.json()["users"])
        if names != sorted(known.people):
            found.changed.append(f"the people are {names}")
    for token, alive in known.refresh_tokens:
        form = {"grant_type": "refresh_token", "refresh_token": token}
        answer = await http.post("/token", data=form, headers={"authorization": client})
        _judge(found, "a refresh token", answer, alive, answer.status_code == 200)


def _judge(found: Found, what: str, answer: httpx.Response, alive: bool, accepted: bool) -> None:
    if answer.status_code == 503 and "retry-after" in answer.headers:
        found.unavailable += 1
    elif answer.status_code >= 500:
        found.failed.append(f"{what} is answered {answer.status_code} {answer.text}")
    elif accepted is alive:
        found.right += 1
    else:
        (found.denied if alive else found.revived).append(f"{what}: {answer.status_code} {answer.text[:80]}")


def serve() -> None:
    """Examine every copy that is named, each in a child, and say how the child ended."""
    for line in sys.stdin:
        folder = Path(line.strip())
        child = os.fork()
        if child == 0:
            signal.alarm(PATIENCE)
            shown = os.open(folder / "shown", os.O_CREAT | os.O_WRONLY)
            os.dup2(shown, 1)
            os.dup2(shown, 2)
            known = msgspec.json.decode((folder.parent / "known.json").read_bytes(), type=Known)
            found = asyncio.run(examine(folder, known))
            (folder / "found.json").write_text(json.dumps(asdict(found)))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    serve()
