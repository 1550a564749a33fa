"""My account: what a person sees and changes of their own; everything needs a live session."""

from collections.abc import Mapping

from watchword.http import Request, Response, redirect
from watchword.oauth.errors import OAuthError
from watchword.pages import browser, sign_in
from watchword.store import users
from watchword.store.sessions import Session
from watchword.store.users import User

MAX_NAME = 120


async def require(request: Request) -> tuple[Session, User] | Response:
    """Return the session and its person, or the way to the sign-in page and back."""
    runtime = request.runtime
    session = await sign_in.current(request)
    user = await runtime.database.read(users.get_user, session.user_id) if session else None
    if session is None or user is None:
        back = sign_in.seal_return(runtime, request.path)
        return redirect(f"{runtime.settings.issuer}/sign-in?return={back}")
    return session, user


def page(
    request: Request,
    session: Session,
    user: User,
    section: str,
    context: Mapping[str, object],
    *,
    status: int = 200,
) -> Response:
    """Answer a page of the account."""
    issuer = request.runtime.settings.issuer
    shared = {
        "account": {
            "name": user.display_name or user.username,
            "identifier": user.username,
            "switch_url": f"{issuer}/sign-out",
        },
        "section": section,
        "sections": ["overview", "identities"],
        "root": f"{issuer}/account",
        "links": {"sign_out": f"{issuer}/sign-out"},
    }
    return browser.page(request, f"account/{section}", {**shared, **context}, status=status)


async def overview(request: Request) -> Response:
    """Show the profile."""
    found = await require(request)
    if isinstance(found, Response):
        return found
    session, user = found
    profile = {
        "username": user.username,
        "email": user.email,
        "email_verified": user.email_verified_at is not None,
        "pending_email": None,
        "created_at": user.created_at,
    }
    context = {
        "action": f"{request.runtime.settings.issuer}/account",
        "profile": profile,
        "advice": [],
        "may": [],
        "values": {"name": user.display_name or ""},
    }
    return page(request, session, user, "overview", context)


async def save_profile(request: Request) -> Response:
    """Change the name that people see."""
    found = await require(request)
    if isinstance(found, Response):
        return found
    session, user = found
    form = request.form()
    browser.check_csrf(request, form.get("csrf"))
    name = (form.get("name") or "").strip()
    if len(name) > MAX_NAME or not name.isprintable():
        raise OAuthError(
            "invalid_request", "The name must be at most 120 printable characters.", field="name"
        )
    await request.runtime.database.write(
        users.set_display_name, user.id, name or None, actor=session.user_id, now=request.runtime.now()
    )
    return redirect(f"{request.runtime.settings.issuer}/account")
