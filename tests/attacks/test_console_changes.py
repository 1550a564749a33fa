"""AP-05, MF-06, SE-02, SE-09: each change of the console, asked for by who may not: nothing of it is done, and then all of it is."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest
from tests.attacks.taken import change
from tests.fixtures.accounts import another, code_of, make, session_of, user_of
from tests.fixtures.console import admin, server
from tests.fixtures.console_forms import form_of
from tests.fixtures.people import Person
from tests.fixtures.servers import Server
from tests.flows.test_console_trail import CHANGES as RECORDED
from tests.flows.test_console_trail import prepare

from watchword.credentials import methods
from watchword.flows import sessions
from watchword.flows.users import account_changes, people
from watchword.flows.users.people import Changes
from watchword.pages import step_up
from watchword.pages.browser import cookie_name
from watchword.store import factors as factor_store
from watchword.store.database import Transaction

__all__ = ["admin", "server"]
PROTOCOL = {"token_endpoint_auth_method": "client_secret_basic", "grant_types": "client_credentials",
            "application_type": "web", "subject_type": "public", "security_profile": "default", "require_auth_time": "yes"}  # fmt: skip
# By what is changed: the page, what its form does or carries, and what is typed
CHANGES: Mapping[str, tuple[str, str, Mapping[str, str]]] = {
    **RECORDED,
    "a client's protocol": ("clients/{client}/protocol", "version", PROTOCOL),
    "a client switched off": ("clients/{client}", "do=switch_off", {}),
    "a client switched on": ("clients/{off}", "do=switch_on", {}),
    "the right given": ("people/{kim}", "do=give", {}),
    "the right taken": ("people/{root}", "do=take", {}),
    "a person switched on": ("people/{gone}", "do=switch_on", {}),
    "factors removed": ("people/{kim}", "do=remove_factors", {}),
    "a link for a password": ("people/{kim}", "do=reset", {}),
    "one session of a person": ("people/{kim}", "do=end", {}),
    "all sessions of a person": ("people/{kim}", "do=end_all", {}),
}


# What the others are about
LAST = (
    "token.revoked",
    "client.secret_removed",
    "user.email_changed",
    "the right given",
    "user.disabled",
    "user.deleted",
)


async def made(server: Server) -> dict[str, str]:
    """Make one of everything that is changed, and another administrator; return their identifiers."""
    found, runtime = await prepare(server), server.runtime
    root = await make(server, "root", "root@example.com", is_admin=True)
    gone = await make(server, "gone", "gone@example.com")
    await account_changes.set_disabled(runtime, gone, True, actor="test")
    given = {"actor": "test", "now": runtime.now()}
    await runtime.database.write(factor_store.set_email_code, found["kim"], True, **given)
    await Person(server, another(server)).sign_in("root")
    off = await server.client(name="Off")
    await change(server, off, disabled=True)
    return {**found, "root": root.id, "gone": gone.id, "off": off.client.client_id}


async def filled(admin: Person, wanted: str, made: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    """Return where the form of a change is sent to, and what it carries."""
    page, form, typed = CHANGES[wanted]
    assert (await admin.open(f"/console/{page.format(**made)}")).status_code == 200
    field, _, does = form.partition("=")
    sent = form_of(admin, does) if does else admin.form(having=field)
    assert sent is not None, wanted
    given = {field: value.format(**made) if value == "{key}" else value for field, value in typed.items()}
    return sent.pop(""), {**sent, **given}


async def happened(server: Server) -> int:
    """Return how many events the audit trail has."""

    async def count(tx: Transaction) -> int:
        row = await tx.one("SELECT count(*) AS n FROM events")
        return int(row["n"])

    return await server.runtime.database.read(count)


async def proved(admin: Person, acr: str, *amr: str) -> None:
    """Give the administrator's browser a session as it is just after these methods."""
    cookie = await sessions.elevate(admin.server.runtime, await session_of(admin.server), acr=acr, amr=amr)
    assert cookie is not None
    name = cookie_name(admin.server.settings, "ww-session")
    admin.http.cookies.delete(name)
    admin.http.cookies.set(name, cookie)


async def give(server: Server, is_admin: bool) -> None:
    await people.change(server.runtime, await user_of(server), Changes(is_admin=is_admin), actor="test")


Attack = Callable[[Person, pytest.MonkeyPatch], AbstractAsyncContextManager[None]]


@asynccontextmanager
async def without_the_right(admin: Person, patch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    await give(admin.server, False)
    yield
    await give(admin.server, True)


@asynccontextmanager
async def losing_the_right(admin: Person, patch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    is_proved: Callable[..., Awaitable[bool]] = step_up.is_proved

    async def demoted_just_now(*given: Any) -> bool:
        found = await is_proved(*given)
        await give(admin.server, False)
        return found

    with patch.context() as within:
        within.setattr(step_up, "is_proved", demoted_just_now)
        yield
    await give(admin.server, True)


@asynccontextmanager
async def without_a_second_step(admin: Person, patch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    await proved(admin, methods.AAL1, "pwd")
    yield
    await proved(admin, methods.AAL2, "pwd", "otp", "mfa")


@asynccontextmanager
async def after_ten_minutes(admin: Person, patch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    admin.server.clock.advance(601)
    yield
    await proved(admin, methods.AAL2, "pwd", "otp", "mfa")


ATTACKS: dict[str, tuple[Attack, int]] = {
    "without the right": (without_the_right, 403),
    "losing the right meanwhile": (losing_the_right, 403),
    "without a second step": (without_a_second_step, 403),
    "after ten minutes": (after_ten_minutes, 303),
}


async def of_others(admin: Person) -> list[str]:
    """Return what forms carry that were made for nobody and for somebody else at this browser, and for this person at another."""
    server, found = admin.server, []
    async with another(server) as here, another(server) as there:
        name = cookie_name(server.settings, "ww-browser")
        here.cookies.set(name, admin.http.cookies[name])
        root, ada = Person(server, here), Person(server, there)
        await root.open("/sign-in")
        found.append(root.form()["csrf"])
        await root.sign_in("root")
        server.clock.advance(31)
        await ada.sign_in()
        await ada.send({"code": code_of(server, server.extra["totp"])}, having="method")
        for person in (root, ada):
            assert (await person.open("/account")).status_code == 200
            assert person.path == "/account"
            found.append(person.form()["csrf"])
    return found


async def test_ap_05_a_change_is_made_by_who_may_make_it_and_proved_it_just_now_only(
    admin: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = admin.server
    known = await made(server)
    for wanted in CHANGES:
        await Person(server, another(server)).sign_in("kim")
        for name, (attack, status) in ATTACKS.items():
            address, form = await filled(admin, wanted, known)
            async with attack(admin, monkeypatch):
                before = await happened(server)
                answer = await admin.http.post(address, data=form)
                assert answer.status_code == status, (wanted, name)
                assert status != 303 or "/step-up?" in answer.headers["location"], (wanted, name)
                after = await happened(server)
                assert after - before == (name == "losing the right meanwhile"), (wanted, name)
    forged = [*await of_others(admin), "", "0" * 64]
    for wanted in (*(one for one in CHANGES if one not in LAST), *LAST):
        await Person(server, another(server)).sign_in("kim")
        address, form = await filled(admin, wanted, known)
        before = await happened(server)
        for csrf in forged:
            answer = await admin.http.post(address, data={**form, "csrf": csrf})
            assert answer.status_code == 400, wanted
        async with another(server) as browser:
            assert "/sign-in?" in (await browser.post(address, data=form)).headers["location"], wanted
        assert await happened(server) == before, wanted
        answer = await admin.http.post(address, data=form)
        assert answer.status_code in (200, 303), f"the honest variant: {wanted}"
        assert await happened(server) > before, wanted
