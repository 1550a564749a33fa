"""People of another product come with their passwords, which are hashed anew when they sign in; an import can be repeated."""

import asyncio
import contextlib
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.fixtures.accounts import another, user_of
from tests.fixtures.people import Person
from tests.fixtures.rows import in_turn
from tests.fixtures.servers import Server, open_server

from watchword.flows.users import people_import
from watchword.flows.users.people_import import Imported, Ready, Refusal
from watchword.oauth.errors import OAuthError
from watchword.store import users
from watchword.store.audit import events

WORD = "password"
HASH = "$pbkdf2-sha256$i=27500$c2FsdHNhbHRzYWx0c2FsdA==$FLAKrylANDgDgtPBQiUvp4/v52EpM6tnb3b2ZEP26EQ="
MARA = {
    "username": "mara",
    "email": "mara@Example.com",
    "email_verified": True,
    "display_name": "Mara M.",
    "attributes": {"locale": "de"},
    "groups": ["staff", "north"],
    "password_hash": HASH,
}


def lines(*people: object) -> list[bytes]:
    return [
        (person if isinstance(person, bytes) else json.dumps(person).encode()) + b"\n" for person in people
    ]


async def imported(server: Server, *people: object) -> Imported:
    done, is_stored = await people_import.run(server.runtime, lambda: lines(*people), actor="command line")
    assert is_stored
    return done


def checked(server: Server, given: list[bytes]) -> tuple[list[int], list[Refusal]]:
    found = list(people_import.read(server.runtime, given))
    refused = [one for one in found if isinstance(one, Refusal)]
    return [one.line for one in found if isinstance(one, Ready)], refused


async def hash_of(server: Server, name: str) -> str:
    found = await server.runtime.database.read(users.find_for_sign_in, name, None)
    assert found is not None
    assert found[1] is not None
    return found[1]


async def test_somebody_signs_in_as_before_and_the_old_hash_is_gone(server: Server) -> None:
    assert await imported(server, MARA) == Imported(1, [], [])
    mara = Person(server, another(server))
    await mara.sign_in("mara", "Password")
    assert mara.path == "/sign-in"
    assert (await hash_of(server, "mara")).startswith("$pbkdf2-")
    await mara.sign_in("mara@example.com", WORD)
    assert mara.path == "/account"
    assert "Mara M." in mara.text
    assert (await hash_of(server, "mara")).startswith("$argon2id$")
    await mara.open("/sign-out")
    again = Person(server, another(server))
    await again.sign_in("mara", WORD)
    assert again.path == "/account"
    assert (await user_of(server, "mara")).groups == ("north", "staff")


async def test_who_was_switched_off_is_switched_off(server: Server) -> None:
    await imported(
        server, MARA, {"username": "kim", "password_hash": MARA["password_hash"], "disabled": True}
    )
    for name, place in (("mara", "/account"), ("kim", "/sign-in")):
        person = Person(server, another(server))
        await person.sign_in(name, WORD)
        assert person.path == place
    told = await server.runtime.database.read(events.list_events, limit=10, name="user.created")
    assert [(event.actor, event.data["username"]) for event in told] == [
        ("command line", "kim"),
        ("command line", "mara"),
    ]


async def test_an_import_is_repeated_and_leaves_alone_what_is_there(server: Server) -> None:
    plain = {"email": "ada@example.com", "email_verified": True}
    await imported(server, MARA)
    await server.runtime.database.write(users.rehash_password, (await one(server, "mara")).id, old=await hash_of(server, "mara"), new="$argon2id$kept")  # fmt: skip
    again = {**MARA, "display_name": "Another"}
    assert await imported(server, again, plain, {**MARA, "username": "other"}, plain) == Imported(
        1, [1, 3, 4], []
    )
    assert await hash_of(server, "mara") == "$argon2id$kept"
    assert (await one(server, "mara")).display_name == "Mara M."
    assert (await one(server, "ada@example.com")).email_verified_at is not None


async def test_a_name_that_only_looks_like_another_is_refused_and_not_taken_for_it(server: Server) -> None:
    people = [{"username": name, "email": f"{name}@example.com"} for name in ("mara", "rnara", "Mara")]
    refusal = Refusal(2, "conflict", people_import.ALIKE, "username")
    assert await imported(server, *people) == Imported(1, [3], [refusal])
    assert await imported(server, *people) == Imported(0, [1, 3], [refusal])
    other = {"username": "rnara", "email": "mara@example.com"}  # the same person by her address
    assert await imported(server, other) == Imported(0, [1], [])


async def test_two_imports_at_once_take_turns(server: Server) -> None:
    people = [{"username": f"person{number}"} for number in range(people_import.AT_ONCE * 3)]
    forth, back = await asyncio.gather(imported(server, *people), imported(server, *people[::-1]))
    assert forth.created + back.created == len(people)
    assert len(forth.existing) + len(back.existing) == len(people)


async def one(server: Server, name: str) -> users.User:
    found = await server.runtime.database.read(users.find_user, name, name if "@" in name else None)
    assert found is not None
    return found


async def test_more_than_are_written_at_once_all_arrive(server: Server) -> None:
    many = [{"username": f"person{number}"} for number in range(people_import.AT_ONCE * 2 + 1)]
    assert await imported(server, *many) == Imported(len(many), [], [])


@pytest.mark.parametrize("keep_going", [False, True])
async def test_no_more_is_held_of_an_export_than_is_written_at_once(tmp_path: Path, keep_going: bool) -> None:
    some, seen = people_import.AT_ONCE, list[int]()

    def export() -> Iterator[bytes]:
        for number in range(some * 2 + 1):
            if number % some == 0:
                with contextlib.closing(sqlite3.connect(server.settings.database)) as beside:
                    seen.extend(beside.execute("SELECT COUNT(*) FROM users").fetchone())
            yield from lines({"username": f"person{number}"})

    async with open_server(tmp_path) as server:
        await people_import.run(server.runtime, export, keep_going=keep_going, actor="test")
    assert seen == [*([] if keep_going else [0, 0, 0]), 0, some, some * 2], "checked, then written"


async def test_an_export_that_changes_after_it_was_checked_is_refused(server: Server) -> None:
    versions = iter([lines(MARA), lines(MARA, {})])
    with pytest.raises(OAuthError, match="conflict"):
        await people_import.run(server.runtime, lambda: next(versions), actor="test")
    assert await server.runtime.database.read(users.find_user, "mara") is None


DEEP = '{{"username": "kim", "attributes": {{"x": {}}}}}'
WRONG = {
    "a member that is not known": ({**MARA, "roles": ["admin"]}, None, "roles"),
    "an administrator": ({**MARA, "is_admin": True}, None, "is_admin"),
    "nobody": ({"display_name": "Mara"}, "username", "needs a username"),
    "no address, verified": ({"username": "kim", "email_verified": True}, "email_verified", "no email"),
    "a name that cannot be": ({**MARA, "username": "a b"}, "username", ""),
    "an address that cannot be": ({**MARA, "email": "mara@"}, "email", ""),
    "an address as a name before it is verified": ({"email": "a@example.com"}, "username", "email_verified"),
    "such an address in another case": ({"username": "A@example.com", "email": "a@example.com"}, "username", "email_verified"),
    "a display name that hides something": ({**MARA, "display_name": "a\u202eb"}, "display_name", ""),
    "no name of a group": ({**MARA, "groups": ["a b"]}, "groups", ""),
    "a claim of the protocol": ({**MARA, "attributes": {"sub": "x"}}, "attributes", ""),
    "a hash that is none": ({**MARA, "password_hash": "5f4dcc3b5aa765d61d8327deb882cf99"}, "password_hash", "Argon2"),
    "a word for a truth": ({**MARA, "email_verified": "yes"}, None, "email_verified"),
    "a list": ([MARA], None, "object"),
    "attributes too deep to be read": (DEEP.format("[" * 20_000 + "]" * 20_000).encode(), None, "too deep"),
    "attributes too deep to be written": (DEEP.format("[" * 900 + "]" * 900).encode(), None, "too deep"),
    "two names": (b'{"username": "kim", "username": "lee"}', None, "duplicate"),
    "a line without end": ({**MARA, "display_name": "x" * people_import.MAX_LINE}, None, "bytes"),
}  # fmt: skip


@in_turn(("person", "field", "said"), WRONG.values(), ids=WRONG)
async def test_a_line_that_cannot_be_says_why_and_repeats_no_hash(
    server: Server, person: object, field: str | None, said: str
) -> None:
    ready, refused = checked(server, lines(MARA, person))
    assert ready == [1]
    (refusal,) = refused
    assert (refusal.line, refusal.error, refusal.field) == (2, "invalid_request", field)
    assert said in refusal.error_description
    assert "5f4dcc3b" not in str(refusal)


def test_empty_lines_count_and_a_mark_at_the_beginning_does_not(server: Server) -> None:
    ready, refused = checked(server, [b"\xef\xbb\xbf" + lines(MARA)[0], b"\r\n", b"{", b"\xff"])
    assert ready == [1]
    assert refused == [
        Refusal(3, "invalid_request", "This is not a JSON object (malformed)."),
        Refusal(4, "invalid_request", "This is not a JSON object (malformed)."),
    ]
