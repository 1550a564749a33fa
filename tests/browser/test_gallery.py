"""WCAG 2.2 AA in a real Chromium: every page, light and dark, desktop and phone, under the policy it is served with."""

from collections.abc import Iterator
from typing import Literal
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, Route, expect
from tests.fixtures.chromium import violations
from tests.unit.pages.gallery import PAGES

from watchword.pages import assets, render
from watchword.pages.branding import Branding
from watchword.pages.security import content_security_policy

pytestmark = pytest.mark.browser

ORIGIN = "http://localhost:9"
BRANDING = Branding(help_url="/help", privacy_url="/privacy", terms_url="/terms")
MOVING = ("form_post", "signed_out")  # go on by themselves
# One of each frame, which is the same around all others.
FRAMED = ("sign_in", "account/overview", "console/overview")
# All pages have one style sheet; what is parsed so runs no script.
TURN = """html => {
  const made = new DOMParser().parseFromString(html, "text/html")
  document.title = made.title
  document.documentElement.lang = made.documentElement.lang
  document.body.replaceWith(document.adoptNode(made.body))
}"""
# What readers may set of their own accord (WCAG 2.2, 1.4.12); a sheet made so is no inline style to the policy.
SPACED = """() => {
  const sheet = new CSSStyleSheet()
  sheet.replaceSync(`* { line-height: 1.5 !important; letter-spacing: 0.12em !important; word-spacing: 0.16em !important }
    p { margin-bottom: 2em !important }`)
  document.adoptedStyleSheets = [sheet]
}"""
LONG_NAMED = Branding(name="Donaudampfschifffahrtselektrizitätenhauptbetriebswerk")
VIEWS = {"desktop": (1280, 800), "phone": (390, 844), "narrow": (320, 640)}


class Visit:
    """One tab that sees the gallery served with its policy, and remembers what the browser complained of."""

    def __init__(
        self,
        browser: Browser,
        scheme: str = "light",
        script: bool = True,
        *,
        branding: Branding = BRANDING,
        forced_colors: Literal["active", "none"] = "none",
        timezone: str = "UTC",
    ) -> None:
        width, height = VIEWS["desktop"]
        self._branding = branding
        self.locale, self.still = "en", False
        self.complaints: list[str] = []
        self.sent: list[str] = []
        self._context = browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme="dark" if scheme == "dark" else "light",
            java_script_enabled=script,
            forced_colors=forced_colors,
            timezone_id=timezone,
        )
        self.page: Page = self._context.new_page()
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.route("**/*", self._answer)

    def open(self, name: str, locale: str = "en", *, still: bool = False) -> Page:
        """Open a page; where it shall stay still, it gets no script."""
        self.locale, self.still = locale, still
        self.page.goto(f"{ORIGIN}/page/{name}")
        return self.page

    def turn_to(self, name: str) -> Page:
        """Show another page in the place of the one that is open, with its style and without its scripts: much faster."""
        self.page.evaluate(TURN, self._html(name))
        return self.page

    def close(self) -> None:
        self._context.close()

    def _answer(self, route: Route) -> None:
        path = urlsplit(route.request.url).path
        if route.request.method == "POST":
            self.sent.append(route.request.post_data or "")
        if self.still and path.endswith(".js"):
            route.fulfill(body="", content_type="text/javascript")
        elif asset := assets.find(path.rpartition("/")[2], self._branding):
            route.fulfill(body=asset.body, content_type=asset.content_type)
        elif path.startswith("/page/"):
            name = path.removeprefix("/page/")
            policy = content_security_policy(frame_src=PAGES[name].get("frames", ()))  # type: ignore[arg-type]  # addresses
            route.fulfill(
                body=self._html(name),
                content_type="text/html; charset=utf-8",
                headers={"content-security-policy": policy},
            )
        else:
            route.fulfill(body="", content_type="text/plain")

    def _html(self, name: str) -> str:
        return render.render(name.split(":")[0], PAGES[name], locale=self.locale, branding=self._branding)


@pytest.fixture(params=["light", "dark"])
def visit(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Visit]:
    opened = Visit(browser, scheme=request.param)
    yield opened
    opened.close()


@pytest.mark.timeout(300)
def test_the_accessibility_engine_finds_no_violation(browser: Browser) -> None:
    visit = Visit(browser)
    visit.open("sign_in", still=True)
    found = {name: violations(visit.turn_to(name), "html" if name in FRAMED else "main") for name in PAGES}
    visit.close()
    assert {name: wrong for name, wrong in found.items() if wrong} == {}


@pytest.mark.timeout(300)
def test_nothing_runs_over_the_edge_and_the_policy_blocks_nothing(browser: Browser) -> None:
    visit = Visit(browser)
    wide = []
    for name in PAGES:
        # In German, for the longer words; another state of a page is of the same template.
        page = visit.turn_to(name) if ":" in name else visit.open(name, "de", still=name in MOVING)
        page.evaluate("for (const more of document.querySelectorAll('details')) more.open = true")
        for view, (width, height) in VIEWS.items():
            page.set_viewport_size({"width": width, "height": height})
            if (
                page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
                > 0
            ):
                wide.append((name, view))
    visit.close()
    assert wide == []
    assert visit.complaints == []


@pytest.mark.parametrize(
    ("branding", "prepare"),
    [
        pytest.param(BRANDING, SPACED, id="under the spacing that readers may set"),
        pytest.param(LONG_NAMED, "() => {}", id="with a service's name of one long word"),
    ],
)
def test_nothing_runs_over_the_edge_of_a_narrow_page(
    browser: Browser, branding: Branding, prepare: str
) -> None:
    visit = Visit(browser, branding=branding)
    width, height = VIEWS["narrow"]
    page = visit.open("sign_in", "de", still=True)
    page.set_viewport_size({"width": width, "height": height})
    page.evaluate(prepare)
    wide = []
    for name in PAGES:
        visit.turn_to(name)
        page.evaluate("for (const more of document.querySelectorAll('details')) more.open = true")
        if page.evaluate("document.documentElement.scrollWidth") > width:
            wide.append(name)
    visit.close()
    assert wide == []


def test_no_table_has_to_be_moved_sideways_on_a_phone(browser: Browser) -> None:
    visit = Visit(browser)
    width, height = VIEWS["phone"]
    page = visit.open("sign_in", "de", still=True)
    page.set_viewport_size({"width": width, "height": height})
    moved = []
    for name in PAGES:
        visit.turn_to(name)
        if page.evaluate(
            "[...document.querySelectorAll('.table-scroll')].some(one => one.scrollWidth > one.clientWidth)"
        ):
            moved.append(name)
    visit.close()
    assert moved == []


def test_the_bar_leads_to_the_same_places_on_a_narrow_page(browser: Browser) -> None:
    visit = Visit(browser)
    page = visit.open("sign_in", still=True)
    for name in ("account/overview", "console/overview"):
        visit.turn_to(name)
        leads = {}
        for view, (width, height) in VIEWS.items():
            page.set_viewport_size({"width": width, "height": height})
            leads[view] = page.get_by_role("banner").get_by_role("link").all_text_contents()
            # The service's name is shown whole or not at all.
            wide, room = page.locator(".topbar .brand-name").evaluate(
                "it => [it.scrollWidth, it.clientWidth]"
            )
            assert room <= 1 or wide <= room, (name, view)
        assert len(leads["desktop"]) == 3
        assert leads["narrow"] == leads["phone"] == leads["desktop"]
    visit.close()


@pytest.mark.parametrize(
    ("name", "links"), [("account/sessions", ".sections a"), ("console/client_new", ".number")]
)
def test_where_one_is_shows_in_forced_colours(browser: Browser, name: str, links: str) -> None:
    visit = Visit(browser, forced_colors="active")
    page = visit.open(name)
    for view in VIEWS.values():
        page.set_viewport_size({"width": view[0], "height": view[1]})
        here, others = (
            page.locator(links + which).evaluate_all(
                "links => [...new Set(links.map(link => getComputedStyle(link).backgroundColor))]"
            )
            for which in ("[aria-current]", ":not([aria-current])")
        )
        assert len(here) == len(others) == 1
        assert here != others
    visit.close()


@pytest.mark.parametrize(
    ("locale", "says"),
    [("en", "15 January 2027 at 09:00 CET"), ("de", "15. Januar 2027 um 09:00 MEZ")],
)
def test_a_time_is_shown_in_the_readers_zone_and_names_it(browser: Browser, locale: str, says: str) -> None:
    visit = Visit(browser, timezone="Europe/Stockholm")
    time = visit.open("console/events", locale).locator("time").first
    assert time.inner_text() == says
    assert (time.get_attribute("title") or "").endswith("08:00 UTC")
    visit.close()


def test_the_first_tab_stop_skips_to_the_content(visit: Visit) -> None:
    page = visit.open("account/overview")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"


def test_the_cursor_waits_in_the_field_that_is_wrong(visit: Visit) -> None:
    expect(visit.open("sign_in").locator("#identifier")).to_be_focused()
    expect(visit.open("sign_in:wrong").locator("#password")).to_be_focused()


def test_a_password_can_be_shown_and_is_hidden_again_before_it_is_sent(visit: Visit) -> None:
    page = visit.open("sign_in")
    page.fill("#identifier", "mara")
    page.fill("#password", "correct horse battery")
    assert page.get_by_role("button", name="Show Password").aria_snapshot() == '- button "Show Password"'
    page.click("[data-reveal=password]")
    assert page.get_attribute("#password", "type") == "text"
    # Said once: "hide, pressed" would leave open which.
    hides = page.get_by_role("button", name="Hide Password")
    assert hides.aria_snapshot() == '- button "Hide Password"'
    page.click("button[type=submit]")
    page.wait_for_url(f"{ORIGIN}/step")
    assert "password=correct+horse+battery" in visit.sent[0]


@pytest.mark.parametrize(
    ("name", "copies"),
    [
        ("console/client_secret", ["Secret", "Identifier (client_id)", "Issuer", "Discovery address"]),
        ("account/recovery_codes", ["Your codes"]),
    ],
)
def test_what_copies_says_what_it_copies_and_beside_it_that_it_did(
    visit: Visit, name: str, copies: list[str]
) -> None:
    page = visit.open(name)
    buttons = page.locator("[data-copy]")
    assert [one.aria_snapshot() for one in buttons.all()] == [
        f'- button "Copy {what}": Copy' for what in copies
    ]
    page.context.grant_permissions(["clipboard-write"])
    said = page.locator("[aria-live]")
    assert said.all_inner_texts() == [""] * len(copies)
    buttons.last.click()
    expect(said).to_have_text([""] * (len(copies) - 1) + ["Copied"])
    assert buttons.last.aria_snapshot() == f'- button "Copied {copies[-1]}": Copied'


def test_an_answer_by_form_post_sends_itself(visit: Visit) -> None:
    visit.open("form_post").wait_for_url(f"{ORIGIN}/callback")
    assert visit.sent == ["code=wwc_1&state=x"]


def test_without_script_sign_in_and_form_post_work_by_their_buttons(browser: Browser) -> None:
    visit = Visit(browser, script=False)
    page = visit.open("sign_in")
    assert not page.is_visible("[data-passkey]")
    page.fill("#identifier", "mara")
    page.fill("#password", "x")
    page.keyboard.press("Enter")
    page.wait_for_url(f"{ORIGIN}/step")
    visit.open("form_post").click("button")
    page.wait_for_url(f"{ORIGIN}/callback")
    visit.close()
    assert "csrf=c5rf" in visit.sent[0]
    assert "credential=&" in visit.sent[0]
    assert visit.sent[1] == "code=wwc_1&state=x"


def test_a_passkey_is_made_and_used_with_a_device_of_ones_own(browser: Browser) -> None:
    visit = Visit(browser)
    session = visit.page.context.new_cdp_session(visit.page)
    session.send("WebAuthn.enable")
    device = {
        "protocol": "ctap2",
        "transport": "internal",
        "hasResidentKey": True,
        "hasUserVerification": True,
        "isUserVerified": True,
        "automaticPresenceSimulation": True,
    }
    session.send("WebAuthn.addVirtualAuthenticator", {"options": device})
    page = visit.open("account/passkeys:none")
    page.fill("#name", "My key")
    page.keyboard.press("Enter")
    page.wait_for_url(f"{ORIGIN}/step")
    visit.open("step_up:passkey").click("[data-passkey]")
    page.wait_for_url(f"{ORIGIN}/step")
    visit.close()
    assert "attestationObject" in visit.sent[0]
    assert "name=My+key" in visit.sent[0]
    assert "authenticatorData" in visit.sent[1]


def test_a_stopped_passkey_is_explained_beside_its_button(browser: Browser) -> None:
    visit = Visit(browser)
    page = visit.open("step_up:passkey")
    assert not page.is_visible("[data-passkey-problem]")
    page.evaluate(
        "() => { navigator.credentials.get = () => Promise.reject(new DOMException('', 'NotAllowedError')) }"
    )
    page.click("[data-passkey]")
    page.wait_for_selector("[data-passkey-problem]:not([hidden])")
    assert "stopped before it finished" in page.inner_text("[data-passkey-problem]")
    visit.close()
    assert visit.sent == []


def test_front_channel_logout_goes_on_once_the_frames_have_loaded(browser: Browser) -> None:
    visit = Visit(browser)
    visit.open("signed_out").wait_for_url(f"{ORIGIN}/bye")
    visit.close()
