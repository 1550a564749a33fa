"""The browser side of every page: the anti-CSRF token, cookies, language, and responses with their security headers.

Theory of the anti-CSRF token: every browser has a random cookie of its own; a form carries the HMAC of that cookie. It is valid in
every tab, across restarts of the server and on every node, and worthless in another browser. In a form of the account pages and of the
console it is also that of the person who was signed in, so that a form left open does nothing to the account of whoever signs in at that
browser next. A POST that the browser itself marks as cross-site (Sec-Fetch-Site, Origin) is refused first.
"""

import hashlib
import hmac
import secrets
from collections.abc import Iterable, Mapping
from urllib.parse import quote, urlencode, urlsplit

from watchword.flows.throttle import Source
from watchword.http import HTML_TYPE, NO_STORE, Request, Response, redirect
from watchword.networks import is_loopback
from watchword.oauth.errors import OAuthError
from watchword.pages import assets, languages, render, returning, security, user_agents
from watchword.pages.branding import branding_of
from watchword.pages.user_agents import Device
from watchword.settings import Settings

BROWSER_COOKIE, LANGUAGE_COOKIE, WISH_COOKIE = "ww-browser", "ww-language", "ww-wish"
BROWSER_LIFETIME = 400 * 86_400
WISH_LIFETIME = 1800  # as long as an application's request is kept
# A browser's own value, and the header that sets it where it is new.
Known = tuple[str, tuple[bytes, bytes] | None]
# Paths that answer a POST only, or not with the same page by GET.
POST_ONLY = frozenset({"/authorize", "/authorize/consent", "/device/confirm", "/account/upstream", "/logout"})
HEADERS = (
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"x-frame-options", b"DENY"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
)


def cookie_name(settings: Settings, name: str) -> str:
    """Return a cookie's name, with the `__Host-` prefix wherever there is TLS (RFC 6265bis §4.1.3.2)."""
    return f"__Host-{name}" if settings.secure else name


def set_cookie(settings: Settings, name: str, value: str, max_age: int | None) -> tuple[bytes, bytes]:
    """Return a Set-Cookie header; a `max_age` of None lasts as long as the browser runs, 0 removes the cookie."""
    parts = [f"{cookie_name(settings, name)}={value}", "Path=/", "HttpOnly", "SameSite=Lax"]
    if settings.secure:
        parts.append("Secure")
    if max_age is not None:
        parts.append(f"Max-Age={max_age}")
    return b"set-cookie", "; ".join(parts).encode("ascii")


def browser_of(request: Request) -> str | None:
    """Return the browser's own random value, or None when it has none yet."""
    found = request.cookie(cookie_name(request.runtime.settings, BROWSER_COOKIE))
    return found if found and len(found) == 43 and found.isascii() else None


def ensure_browser(request: Request) -> Known:
    """Return the browser's own value, and the header that sets it where it is new."""
    known = browser_of(request)
    if known is not None:
        return known, None
    made = secrets.token_urlsafe(32)
    return made, set_cookie(request.runtime.settings, BROWSER_COOKIE, made, BROWSER_LIFETIME)


def digest_of(browser: str) -> bytes:
    """Return the digest by which a browser is stored as a person's device."""
    return hashlib.sha256(b"device\n" + browser.encode()).digest()


def source_of(request: Request) -> Source:
    """Return the source of a request that attempts are counted by: its address and its browser."""
    value = browser_of(request)
    return Source(request.address, digest_of(value) if value else b"")


def csrf_value(request: Request, browser: str, about: str = "") -> str:
    """Return the anti-CSRF token of a browser's forms; with `about` it is valid only for a form about that (AZ-53)."""
    key, text = request.runtime.root.derive("csrf"), f"{browser}\n{about}" if about else browser
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


def check_csrf(request: Request, sent: str | None, about: str = "") -> None:
    """Raise `access_denied` for a form from another site or another browser (SE-09, SE-10), or one about something else."""
    if not is_own_form(request, sent, about):
        raise OAuthError(
            "access_denied", "This form was not made for this browser: open the page again.", field="csrf"
        )


def is_own_form(request: Request, sent: str | None, about: str = "") -> bool:
    """Whether a form was made for this browser; raise `access_denied` when the browser itself marks it as another site's."""
    check_same_site(request)
    browser = browser_of(request)
    return browser is not None and hmac.compare_digest(
        csrf_value(request, browser, about).encode(), (sent or "").encode()
    )


def is_foreign(request: Request) -> bool:
    """Whether the browser itself marks a request as coming from another site."""
    origin, site = request.header(b"origin"), request.header(b"sec-fetch-site")
    own = (None, own_origin(request.runtime.settings))
    return site not in (None, "same-origin", "none") or origin not in own


def blocks_cookies(request: Request) -> bool:
    """Whether a form of this server came back without the browser's own cookie: then reloading it does not help."""
    return browser_of(request) is None and not is_foreign(request)


def check_same_site(request: Request) -> None:
    """Raise `access_denied` for a request that the browser itself marks as coming from another site."""
    if is_foreign(request):
        raise OAuthError("access_denied", "This request was not made by a page of this server.", field="csrf")


def own_origin(settings: Settings) -> str:
    """Return the origin of the server's pages."""
    scheme, _, rest = settings.issuer.partition("://")
    return f"{scheme}://{rest.partition('/')[0]}"


class Diverted(Exception):
    """Another page comes first, such as the sign-in page: `response` is answered in place of what was asked for."""

    def __init__(self, response: Response) -> None:
        super().__init__()
        self.response = response


def homeward(request: Request) -> Response | None:
    """In development, redirect a browser that used another name of this machine to the issuer's: forms and cookies work only there."""
    settings = request.runtime.settings
    if settings.mode != "development" or request.method != "GET":
        return None
    host, own = request.header(b"host") or "", urlsplit(settings.issuer).netloc
    name, _, port = host.rpartition(":")
    if host == own or port != own.rpartition(":")[2] or not is_loopback(name.strip("[]")):
        return None
    query = f"?{quote(request.query_string, safe='=&%+/:;,@')}" if request.query_string else ""
    return redirect(settings.issuer + returning.place_of(request) + query)


def locale_of(request: Request, ui_locales: str | None = None) -> str:
    """Return the language of the page: the one chosen on a page, now or before, else the application's wish, of which the page knows
    or which was noted on the way to it, else the browser's."""
    settings = request.runtime.settings
    known = render.locales(branding_of(settings))
    chosen = _chosen(request) or request.cookie(cookie_name(settings, LANGUAGE_COOKIE))
    if chosen is not None and chosen in known:
        return chosen
    wish = request.cookie(cookie_name(settings, WISH_COOKIE))
    wished = " ".join(filter(None, (ui_locales, wish)))
    return languages.choose(known, wished, request.header(b"accept-language"))


def device_of(request: Request, user_agent: str) -> Device:
    """Return the description of a browser in the language of the page."""
    texts = render.locales(branding_of(request.runtime.settings))[locale_of(request)].texts
    return user_agents.describe(user_agent, texts["user_agent.on"], texts["user_agent.unknown"])


def _chosen(request: Request) -> str | None:
    return _query(request).get("lang")


def _query(request: Request) -> dict[str, str]:
    try:
        return request.query().single()
    except OAuthError:  # a malformed query was refused already, and this is the page that says so
        return {}


def _languages(request: Request, locale: str) -> list[dict[str, str]]:
    """Return links to a page in the other languages; none for the answer to a form, which has no URL to link to."""
    settings = request.runtime.settings
    if request.method != "GET":
        return []
    others = {name: value for name, value in _query(request).items() if name not in ("lang", "notice")}
    here = settings.issuer + returning.place_of(request)
    return [
        {"code": code, "name": language.name, "url": f"{here}?{urlencode({**others, 'lang': code})}"}
        for code, language in render.locales(branding_of(settings)).items()
        if code != locale
    ]


def language_wish(request: Request, ui_locales: Iterable[str]) -> Iterable[tuple[bytes, bytes]]:
    """Return the header that notes an application's wish for the pages on the way, in place of another application's.

    It is no choice of the person's: that would hold for every other application, and for longer than this one's request.
    """
    settings, wished = request.runtime.settings, " ".join(ui_locales)
    if wished:
        known = render.locales(branding_of(settings))
        wish = languages.choose(known, wished, request.header(b"accept-language"))
        yield set_cookie(settings, WISH_COOKIE, wish, WISH_LIFETIME)
    elif request.cookie(cookie_name(settings, WISH_COOKIE)):
        yield set_cookie(settings, WISH_COOKIE, "", 0)


def here(request: Request, path: str) -> str:
    """Return a path of this server as browsers see it, below the path of the issuer."""
    return urlsplit(request.runtime.settings.issuer).path + path


def _here(request: Request, hidden: object) -> str | None:
    """Return the URL that reloads a page that answered a form, with the form's return path; None where there is none."""
    if request.method == "GET" or request.path in POST_ONLY:
        return None
    carried = hidden if isinstance(hidden, Mapping) else {}
    query = urlencode({name: carried[name] for name in ("return", "link") if name in carried})
    path = returning.place_of(request)
    return here(request, f"{path}?{query}" if query else path)


def page(
    request: Request,
    template: str,
    context: Mapping[str, object],
    *,
    status: int = 200,
    headers: Iterable[tuple[bytes, bytes]] = (),
    form_action: Iterable[str] = (),
    frame_src: Iterable[str] = (),
    ui_locales: str | None = None,
    known: Known | None = None,
    about: str = "",
) -> Response:
    """Answer a page, giving the browser its own value if it has none; `known` is what `ensure_browser` returned before.

    `about` is what the forms of the page are bound to besides the browser.
    """
    settings = request.runtime.settings
    browser, fresh = known or ensure_browser(request)
    if request.method == "POST" and (template == "error" or is_foreign(request)):
        fresh = None  # another site's form comes without our cookies: do not replace the browser's value
    extra = [*headers, *([fresh] if fresh else [])]
    brand, locale = branding_of(settings), locale_of(request, ui_locales)
    if _chosen(request) == locale:
        extra.append(set_cookie(settings, LANGUAGE_COOKIE, locale, BROWSER_LIFETIME))
    if status == 429 and not any(name == b"retry-after" for name, _ in extra):
        extra.append(_retry_after(context.get("errors")))
    # A refusal does not repeat the URL that it refuses, which may contain a secret (AP-08).
    languages = [] if template == "error" else _languages(request, locale)
    html = render.render(
        template,
        {
            "csrf": csrf_value(request, browser, about),
            "languages": languages,
            "here": _here(request, context.get("hidden")),
            **context,
        },
        locale=locale,
        branding=brand,
    )
    policy = security.content_security_policy(form_action=form_action, frame_src=frame_src)
    return Response(
        status,
        html.encode(),
        (HTML_TYPE, *NO_STORE, *HEADERS, (b"content-security-policy", policy.encode()), *extra),
    )


def _retry_after(problems: object) -> tuple[bytes, bytes]:
    """RFC 6585 §4: return the Retry-After header for the minutes that the page shows."""
    shown = problems.values() if isinstance(problems, Mapping) else ()
    minutes = [int(one.values.get("minutes", 1)) for one in shown if isinstance(one, render.Problem)]
    return b"retry-after", str(60 * max(minutes, default=1)).encode()


async def asset(request: Request) -> Response:
    """Answer a static file of the pages, to be kept only under the address of what is in it.

    A page of a node of the next release asks for what this one does not have: kept, it would stay in that page for a year.
    """
    settings = request.runtime.settings
    found = assets.find(request.path_params["name"], branding_of(settings))
    if found is None:
        raise OAuthError("not_found", "There is nothing at this address.")
    is_own = request.query_string == f"v={found.version}".encode()
    kept = ((b"cache-control", assets.CACHE_CONTROL.encode()),) if is_own else NO_STORE
    return Response(200, found.body, ((b"content-type", found.content_type.encode()), *kept))
