"""My account: password, passkeys and second factors. A change requires recent authentication, and the owner is notified by mail."""

from watchword.credentials import totp
from watchword.credentials.methods import Method
from watchword.credentials.names import NameRefused, display
from watchword.credentials.passkey import PasskeyRefused
from watchword.flows import factors, passkeys, sessions, ways_in
from watchword.flows.factors import FactorRefused
from watchword.flows.runtime import Runtime
from watchword.flows.throttle import Throttled
from watchword.flows.users import account_changes, accounts
from watchword.flows.users.account_changes import PasswordWrong
from watchword.http import Request, Response
from watchword.http.forms import Form
from watchword.oauth.errors import OAuthError
from watchword.pages import account, browser, once, passwords, refused_proof, step_up, visit
from watchword.pages.account import Person
from watchword.pages.qr import qr_image
from watchword.store import factors as store
from watchword.store import passkeys as passkey_store
from watchword.store import users


def _changing(
    request: Request,
    person: Person,
    form: Form,
    change: str,
    *,
    done: object = True,
    proved: Method | None = None,
) -> tuple[Runtime, tuple[tuple[bytes, bytes], ...]]:
    return account.changing(
        request, person, form, page="/account/second_factors", change=change, done=done, proved=proved
    )


async def show_password(request: Request) -> Response:
    """Show the form for another password."""
    return await _password(request, await account.require(request))


async def _password(
    request: Request, person: Person, errors: dict[str, object] | None = None, status: int = 200
) -> Response:
    stored = await request.runtime.database.read(users.find_password, person[1].id)
    context = {
        "action": f"{request.runtime.settings.issuer}/account/password",
        "has_password": stored is not None,
        "changed_at": person[1].password_changed_at,
        "password_minimum": accounts.MIN_PASSWORD,
        "errors": errors or {},
    }
    return account.page(request, person, "password", context, status=status)


async def change_password(request: Request) -> Response:
    """Change the password, ending other sessions if asked to. An account without a password requires recent authentication."""
    found = await account.require(request)
    session, user = found
    form = account.form_of(request, found)
    runtime = request.runtime
    has_password = await runtime.database.read(users.find_password, user.id) is not None
    if not has_password and not await step_up.is_proved(request, session, user):
        return step_up.ask(request, request.path)
    try:
        cookie = await account_changes.change_password(
            runtime,
            user,
            old=form.get("password"),
            new=form.get("new_password") or "",
            session=session,
            end_others=form.get("end_others") == "yes",
            origin=visit.origin_of(request),
        )
    except PasswordWrong:
        return await _password(request, found, {"password": "password_wrong"}, 400)
    except Throttled as refused:
        return await _password(request, found, {"form": refused_proof.throttled(refused)}, 429)
    except OAuthError as error:
        if error.field != "password":
            raise
        return await _password(request, found, {"new_password": passwords.problem(error)}, 400)
    # The present password proves no second factor, so it does not raise the session's level (MF-06).
    return account.done(
        request, "password", "password_changed", (visit.session_cookie(request, session, cookie),)
    )


async def show_passkeys(request: Request) -> Response:
    """List one's own passkeys, with the form for another."""
    return await _passkeys(request, await account.require_fresh(request))


async def _passkeys(request: Request, person: Person, errors: dict[str, object] | None = None) -> Response:
    runtime, user = request.runtime, person[1]
    value = browser.browser_of(request) or ""
    asked = await passkeys.creation_options(runtime, value, user) if _takes(request, "passkey") else None
    listed = await runtime.database.read(passkey_store.list_passkeys, user.id)
    context = {
        "action": f"{runtime.settings.issuer}/account/passkeys",
        "passkeys": [
            {
                "id": one.id,
                "name": one.name,
                "created_at": one.created_at,
                "last_used_at": one.last_used_at,
                "backed_up": one.passkey.backed_up,
            }
            for one in listed
        ],
        "passkey_options": asked[0] if asked else "",
        "may_remove": await ways_in.may_lose_passkey(runtime, user, listed),
        "hidden": {"challenge": asked[1]} if asked else {},
        "errors": errors or {},
    }
    return account.page(request, person, "passkeys", context, status=400 if errors else 200)


async def change_passkeys(request: Request) -> Response:
    """Add, rename or remove a passkey."""
    found = await account.require_fresh(request)
    form = account.form_of(request, found)
    what = form.get("do")
    if what == "add" and _takes(request, "passkey"):
        return await _add_passkey(request, found, form)
    runtime, user = request.runtime, found[1]
    passkey_id = form.get("passkey") or ""
    if what not in ("rename", "remove"):
        return account.done(request, "passkeys", "")
    if what == "rename":
        name = _name(form)
        if name is None:
            return await _passkeys(request, found, {"form": account.NAME_INVALID})
        renaming = (passkey_store.rename_passkey, passkey_id, user.id, name)
        await sessions.act(runtime, found[0], *renaming, now=runtime.now())
        return account.done(request, "passkeys", "passkey_renamed")
    return await _remove_passkey(request, found, form, passkey_id)


async def _remove_passkey(request: Request, person: Person, form: Form, passkey_id: str) -> Response:
    within, headers = _changing(request, person, form, "passkey_removed", done="removed")
    outcome = await ways_in.remove_passkey(within, person[0], passkey_id)
    if outcome == "last":
        return await _passkeys(request, person, {"form": "passkey_last"})
    if outcome == "unknown":
        await account.unchanged(request, person, form)
    return account.done(request, "passkeys", "passkey_removed", headers if outcome == "removed" else ())


def _name(form: Form) -> str | None:
    try:
        return display((form.get("name") or "").strip() or passkeys.DEFAULT_NAME)[: passkeys.MAX_NAME]
    except NameRefused:
        return None


async def _add_passkey(request: Request, person: Person, form: Form) -> Response:
    name = _name(form)
    if name is None:
        return await _passkeys(request, person, {"name": account.NAME_INVALID})
    within, headers = _changing(request, person, form, "passkey_added")
    try:
        await passkeys.register(
            within,
            person[0],
            browser=browser.browser_of(request) or "",
            challenge=form.get("challenge") or "",
            credential=form.get("credential") or "",
            name=name,
        )
    except PasskeyRefused as refused:
        problem = refused_proof.problem(refused)
        listed = await request.runtime.database.read(passkey_store.list_passkeys, person[1].id)
        many = len(listed) >= passkey_store.MAX_PASSKEYS
        return await _passkeys(request, person, {"form": "passkey_many" if many else problem})
    return account.done(request, "passkeys", "passkey_added", headers)


# Actions that set up a second factor, each with the factor's name in the settings.
_SETS_UP = {"new_recovery_codes": "recovery_code", "email_code_on": "email_code"}


def _takes(request: Request, factor: str) -> bool:
    """Whether the settings accept a second factor, or a passkey as the only one: no other can be set up, since no sign-in would use it."""
    settings = request.runtime.settings
    alone = factor == "passkey" and factor in settings.sign_in_methods
    return alone or factor in settings.second_factors


async def show_factors(request: Request) -> Response:
    """Show which second factors there are."""
    found = await account.require(request)
    runtime, user = request.runtime, found[1]
    settings = runtime.settings
    have = await runtime.database.read(store.enrolled, user.id)
    application = await runtime.database.read(store.find_totp, user.id)
    mails = _takes(request, "email_code") and settings.mails and user.email_verified_at is not None
    context = {
        "action": f"{settings.issuer}/account/second_factors",
        "totp": {"added_at": application.created_at, "last_used_at": application.last_used_at}
        if application
        else None,
        "email_code": {"on": have.email_code, "address": account_changes.masked(user.email or "")}
        if mails
        else None,
        "recovery_codes": {"left": have.recovery_codes, "made_at": have.recovery_made_at}
        if have.recovery_made_at
        else None,
        "passkeys": have.passkeys,
        "offers": [name for name in ("passkey", "totp", "recovery_code") if _takes(request, name)],
        "required": factors.is_required(settings, user),
        "hidden": once.field(),
    }
    return account.page(request, found, "second_factors", context)


async def change_factors(request: Request) -> Response:
    """Remove the authenticator application, switch codes by mail on or off, or make recovery codes."""
    found = await account.require_fresh(request)
    form = account.form_of(request, found)
    session, what = found[0], form.get("do") or ""
    if what in _SETS_UP and not _takes(request, _SETS_UP[what]):
        return account.done(request, "second_factors", "")
    if what == "new_recovery_codes":
        within, headers = _changing(request, found, form, "recovery_codes_made")
        try:
            codes = await factors.make_recovery_codes(once.runtime_for(within, session, form), session)
        except once.SentBefore:
            return account.done(request, "second_factors", "codes_once")
        return account.page(
            request,
            found,
            "second_factors",
            {
                "codes": list(codes),
                "here": browser.here(request, "/account/second_factors?notice=codes_once"),
            },
            template="recovery_codes",
            headers=headers,
        )
    notice = "totp_removed" if what == "remove_totp" else what
    within, headers = _changing(request, found, form, notice)
    if what == "remove_totp" and await factors.remove_totp(within, session):
        return account.done(request, "second_factors", notice, headers)
    switches = what in ("email_code_on", "email_code_off")
    if switches and await factors.set_email_code(within, session, what == "email_code_on"):
        return account.done(request, "second_factors", notice, headers)
    return account.done(request, "second_factors", "")


async def show_totp(request: Request) -> Response:
    """Show a fresh key for an authenticator application; nothing is kept until its first code was right."""
    found = await account.require_fresh(request)
    if not _takes(request, "totp"):
        return account.done(request, "second_factors", "")
    key, sealed = factors.begin_totp(request.runtime, found[1])
    return _totp(request, found, key, sealed)


def _totp(request: Request, person: Person, key: bytes, sealed: str, problem: object = None) -> Response:
    settings = request.runtime.settings
    uri = totp.otpauth_uri(key, issuer=settings.service_name, account=person[1].username)
    context = {
        "action": f"{settings.issuer}/account/second_factors/totp",
        "qr": qr_image(uri),
        "secret": totp.secret_text(key),
        "hidden": {"key": sealed},
        "errors": {"code": problem} if problem else {},
    }
    return account.page(
        request, person, "second_factors", context, template="totp", status=400 if problem else 200
    )


async def add_totp(request: Request) -> Response:
    """Store the authenticator application when its code is right, and raise the session's level."""
    found = await account.require_fresh(request)
    form = account.form_of(request, found)
    sealed = form.get("key") or ""
    key = factors.open_totp(request.runtime, found[1], sealed) if _takes(request, "totp") else None
    if key is None:
        return await show_totp(request)
    within, headers = _changing(request, found, form, "totp_added", proved=Method.TOTP)
    try:
        code = form.get("code") or ""
        await factors.confirm_totp(request.runtime, found[0], key, code, within=within)
    except (FactorRefused, Throttled) as refused:
        return _totp(request, found, key, sealed, refused_proof.problem(refused))
    return account.done(request, "second_factors", "totp_added", headers)
