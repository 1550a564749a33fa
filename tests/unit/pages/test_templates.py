"""Every page and mail, in every language, against its contract: complete, escaped, free of anything inline or foreign."""

import functools
import re
from collections.abc import Iterator, Mapping
from html.parser import HTMLParser
from pathlib import Path

import pytest
from jinja2 import UndefinedError
from tests.fixtures.rows import in_turn
from tests.unit.pages.gallery import MAILS, PAGES

from watchword.pages import contract, languages, render
from watchword.pages.branding import Branding

BRANDING = Branding()
LOCALES = sorted(languages.available())
HOSTILE = """"><script>alert(1)</script><img src=x onerror=alert(2)> ' {{ 7 * 7 }} \u202egnp.exe"""
# What picks a text or an appearance: the server sets these from closed lists, never from what somebody typed.
CHOICES = frozenset(
    [
        "section",
        "sections",
        "method",
        "methods",
        "origin",
        "kind",
        "risk",
        "state",
        "outcome",
        "purpose",
        "reason",
        "made",
        "problem_name",
        "notice",
        "errors",
        "advice",
        "may",
        "asks",
        "change",
        "overlaps",
        "owner_kind",
        "states",
        "level",
        "demands",
        "format",
        "scheme",
    ]
)
ADDRESS_ATTRIBUTES = frozenset({"src", "srcset", "action", "formaction", "poster", "data", "background"})
VOID = frozenset({"meta", "link", "input", "img", "br", "source", "path", "circle", "rect"})


class Element:
    def __init__(self, tag: str, attributes: dict[str, str | None]) -> None:
        self.tag = tag
        self.attributes = attributes
        self.text = ""


class Page(HTMLParser):
    """The elements of a page in order, and the tags left open or closed wrongly."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[Element] = []
        self.unbalanced: list[str] = []
        self._open: list[Element] = []
        self.feed(html)
        self.close()
        self.unbalanced += [element.tag for element in self._open]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(attrs) == len(dict(attrs)), f"an attribute of <{tag}> is there twice"
        element = Element(tag, dict(attrs))
        self.elements.append(element)
        if tag not in VOID:
            self._open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(Element(tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if not self._open or self._open.pop().tag != tag:
            self.unbalanced.append(tag)

    def handle_data(self, data: str) -> None:
        for element in self._open:
            element.text += data

    def all(self, tag: str) -> Iterator[Element]:
        return (element for element in self.elements if element.tag == tag)


def show(name: str, locale: str = "en", context: Mapping[str, object] | None = None) -> str:
    given = PAGES[name] if context is None else context
    return render.render(name.split(":")[0], given, locale=locale, branding=BRANDING)


@functools.cache
def page_of(name: str, locale: str = "en") -> Page:
    """Return a page as the gallery shows it, read once for all rules."""
    return Page(show(name, locale))


def poison(value: object) -> object:
    if isinstance(value, str):
        return value + HOSTILE
    if isinstance(value, Mapping):
        return {key: entry if key in CHOICES else poison(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [poison(entry) for entry in value]
    return value


@in_turn("locale", LOCALES)
@in_turn("name", PAGES)
def test_a_page_renders_in_every_language(name: str, locale: str) -> None:
    page = page_of(name, locale)
    assert not page.unbalanced
    assert [element.attributes["lang"] for element in page.all("html")] == [locale]
    assert len(list(page.all("h1"))) == len(list(page.all("main"))) == 1
    assert all(element.text.strip() for element in page.all("title"))
    ids = [element.attributes["id"] for element in page.elements if "id" in element.attributes]
    assert len(ids) == len(set(ids))


@in_turn("name", PAGES)
def test_a_page_has_nothing_inline_so_that_the_strict_policy_holds(name: str) -> None:
    page = page_of(name)
    assert not list(page.all("style"))
    assert all(element.attributes.get("src") and not element.text.strip() for element in page.all("script"))
    for element in page.elements:
        assert "style" not in element.attributes
        assert not [attribute for attribute in element.attributes if attribute.startswith("on")]
        assert not [
            value for value in element.attributes.values() if (value or "").lower().startswith("javascript:")
        ]


@in_turn("name", PAGES)
def test_a_page_loads_nothing_from_elsewhere(name: str) -> None:
    for element in page_of(name).elements:
        if "data-logout-frame" in element.attributes:
            continue  # the clients' own addresses are what front-channel logout is about
        loaded = ADDRESS_ATTRIBUTES | ({"href"} if element.tag in ("link", "use", "image") else set())
        for attribute in loaded & element.attributes.keys():
            value = element.attributes[attribute] or ""
            assert value.startswith(("/", "?", "data:image/"))
            assert not value.startswith("//")


@in_turn("name", PAGES)
def test_a_page_escapes_whatever_it_is_given(name: str) -> None:
    context = poison(PAGES[name])
    assert isinstance(context, Mapping)
    honest, page = page_of(name), Page(show(name, context=context))
    assert not page.unbalanced
    assert len(list(page.all("script"))) == len(list(honest.all("script"))) == 1
    assert not [element for element in page.elements if "onerror" in element.attributes]
    assert "49" not in "".join(element.text for element in page.all("h1"))


@in_turn("name", PAGES)
def test_every_form_that_comes_back_carries_the_anti_forgery_value(name: str) -> None:
    page = page_of(name)
    own = [form for form in page.all("form") if "data-autosubmit" not in form.attributes]
    changing = [form for form in own if form.attributes["method"] == "post"]
    values = [
        field.attributes["value"] for field in page.all("input") if field.attributes.get("name") == "csrf"
    ]
    assert values == ["c5rf"] * len(changing)
    # What changes nothing may be sent as an address, where no secret and no anti-forgery value belongs.
    assert {form.attributes["class"] for form in own if form not in changing} <= {"filters"}


@in_turn("name", PAGES)
def test_every_field_has_a_label_and_its_error_and_hint_are_announced(name: str) -> None:
    page = page_of(name)
    ids = {element.attributes["id"] for element in page.elements if "id" in element.attributes}
    labelled = {label.attributes["for"] for label in page.all("label")}
    for field in (*page.all("input"), *page.all("select")):
        hidden = field.attributes.get("type") == "hidden" or field.attributes.get("aria-hidden") == "true"
        assert hidden or field.attributes["id"] in labelled
        assert set((field.attributes.get("aria-describedby") or "").split()) <= ids
        if "aria-invalid" in field.attributes:
            assert f"{field.attributes['id']}-error" in (field.attributes["aria-describedby"] or "").split()


WRONG = [
    pytest.param(name, field, id=f"{name}, {field}")
    for name, context in PAGES.items()
    for field in context.get("errors", ())
    if field != "form"
]


@in_turn("name, field", WRONG)
def test_the_cursor_waits_at_whatever_is_wrong_and_its_error_is_announced_there(
    name: str, field: str
) -> None:
    errors = {field: PAGES[name]["errors"][field]}  # type: ignore[index]  # names and texts of problems
    elements = Page(show(name, context={**PAGES[name], "errors": errors})).elements
    (wrong,) = (
        element for element in elements if element.attributes.get("class") == "error" and element.text
    )
    (told,) = (
        position
        for position, element in enumerate(elements)
        if wrong.attributes["id"] in (element.attributes.get("aria-describedby") or "").split()
    )
    if elements[told].tag == "fieldset":
        told = next(
            position for position, one in enumerate(elements) if position > told and one.tag == "input"
        )
    focused = [position for position, element in enumerate(elements) if "autofocus" in element.attributes]
    assert focused == [told]


@in_turn("name", PAGES)
def test_a_password_is_never_sent_back_and_may_be_pasted(name: str) -> None:
    for field in page_of(name).all("input"):
        if field.attributes.get("type") == "password":
            assert "value" not in field.attributes
            assert "maxlength" not in field.attributes
            assert field.attributes["autocomplete"] in ("current-password", "new-password")


@pytest.mark.parametrize("name", ["sign_in", "second_factor"])
@pytest.mark.parametrize(("days", "says"), [(30, "for 30 days"), (1, "for a day")])
def test_a_device_is_remembered_for_a_day_or_for_several(name: str, days: int, says: str) -> None:
    assert says in show(name, context={**PAGES[name], "remember_days": days})


@in_turn("name", PAGES)
def test_a_password_is_kept_by_its_manager_under_the_accounts_name(name: str) -> None:
    hints = [(element.attributes.get("autocomplete") or "").split() for element in page_of(name).all("input")]
    if not any("password" in hint for found in hints for hint in found):
        return
    assert any("username" in found for found in hints), "a manager saves the password without a name"


def test_passkey_suggestions_appear_where_a_name_is_typed() -> None:
    fields = {field.attributes.get("name"): field.attributes for field in page_of("sign_in").all("input")}
    assert fields["identifier"]["autocomplete"] == "username webauthn"
    assert fields["password"]["autocomplete"] == "current-password"


def test_a_code_is_offered_from_the_phones_messages() -> None:
    fields = {
        field.attributes.get("name"): field.attributes for field in page_of("second_factor").all("input")
    }
    assert fields["code"]["autocomplete"] == "one-time-code"
    assert fields["code"]["inputmode"] == "numeric"


@pytest.mark.parametrize("name", ["consent", "device_confirm"])
def test_approve_and_deny_weigh_the_same_and_the_enter_key_denies(name: str) -> None:
    page = page_of(name)
    deny, approve = (button for button in page.all("button") if button.attributes.get("name") == "decision")
    assert (deny.attributes["value"], approve.attributes["value"]) == ("deny", "approve")
    assert deny.attributes["class"] == approve.attributes["class"]


def test_consent_never_lets_openid_be_unticked() -> None:
    boxes = [
        field.attributes["value"]
        for field in page_of("consent").all("input")
        if field.attributes.get("name") == "scope"
    ]
    assert boxes == ["invoices:write", "payments:send"]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("consent", "app.ledgerline.example"),
        ("consent:document", "Name published by agent.inkwell.example"),
        ("consent:document", "agent.inkwell.example:8443"),
        ("consent:loopback", "has not checked this name"),
        ("consent:loopback", "This application runs on your device"),
        ("consent:app", "Several apps can claim the same address"),
        ("device_confirm", "Did you start this yourself, just now?"),
        ("device_confirm", "Gothenburg, Sweden"),
    ],
)
def test_consent_tells_who_asks_and_where_the_answer_goes(name: str, says: str) -> None:
    assert says in " ".join(next(page_of(name).all("main")).text.split())


def test_a_client_that_registered_itself_is_marked_as_unchecked_wherever_it_asks() -> None:
    assert "Not verified" not in show("consent")
    assert "Not verified" in show("consent:loopback")
    assert "Not verified" in show("consent:app")


def test_form_post_sends_exactly_the_values_it_was_given_escaped() -> None:
    """AZ-15."""
    fields = {"state": HOSTILE, "code": "wwc_1"}
    context = {"redirect_uri": "https://rp.example/cb?a=1&b=2", "host": "rp.example", "fields": fields}
    page = Page(show("form_post", context=context))
    assert {field.attributes["name"]: field.attributes["value"] for field in page.all("input")} == fields
    assert [form.attributes["action"] for form in page.all("form")] == ["https://rp.example/cb?a=1&b=2"]
    assert HOSTILE not in show("form_post", context=context)


def test_a_developer_is_told_what_differs_in_development_only() -> None:
    assert "Development only" not in show("error")
    assert "watchword client update ledgerline" in show("error:developer")


def test_a_missing_name_is_an_error_and_not_an_empty_place() -> None:
    context = {key: value for key, value in PAGES["consent"].items() if key != "redirect"}
    with pytest.raises(UndefinedError, match="redirect"):
        show("consent", context=context)


@in_turn("name", PAGES)
def test_a_template_documents_every_name_it_takes(name: str) -> None:
    template = name.split(":")[0]
    names = set(PAGES[name]) - {"csrf", "hidden", "languages", "errors", "notice"}
    if template.startswith(("account/", "console/")):
        names -= {"root", "section", "sections", "account", "links"}
    comment = _comment(f"{template}.html")
    assert "Contract version 1" in comment
    assert [key for key in names if not re.search(rf"\b{key}\b", comment)] == []


@pytest.mark.parametrize("locale", LOCALES)
@pytest.mark.parametrize(
    "name",
    [
        name
        for name in PAGES
        if name.split(":")[0] in ("account/password", "reset_password", "recover_passkey")
    ],
)
def test_who_may_end_api_tokens_by_a_page_is_told_so(name: str, locale: str) -> None:
    (box,) = [one for one in page_of(name, locale).all("input") if one.attributes.get("name") == "end_others"]
    hint = str(box.attributes["aria-describedby"])
    told = next(one for one in page_of(name, locale).elements if one.attributes.get("id") == hint)
    assert re.search("API[- ]tokens", told.text, re.IGNORECASE)


def test_every_template_is_shown_in_the_gallery() -> None:
    frames = {"layout", "card", "parts", "account/layout", "console/layout", "console/parts"}
    paths = contract.TEMPLATES.rglob("*.html")
    assert {str(path.relative_to(contract.TEMPLATES).with_suffix("")) for path in paths} - frames == {
        name.split(":")[0] for name in PAGES
    }
    assert {path.stem for path in (contract.TEMPLATES / "mail").glob("*.txt")} == set(MAILS)


@in_turn("locale", LOCALES)
@in_turn("name", MAILS)
def test_a_mail_renders_in_every_language(name: str, locale: str) -> None:
    mail = render.render_mail(name, MAILS[name], locale=locale, branding=BRANDING)
    assert "Watchword" in mail.subject
    assert "\n" not in mail.subject
    assert "{" not in mail.subject + mail.body
    assert mail.body.endswith("Watchword\n")


@in_turn("name", MAILS)
def test_a_mail_documents_every_name_it_takes(name: str) -> None:
    comment = _comment(f"mail/{name}.txt")
    assert [
        key
        for key in MAILS[name]
        if not re.search(rf"\b{key}\b", comment) and "as in new_device" not in comment
    ] == []


@in_turn("name", MAILS)
def test_what_others_typed_cannot_add_lines_to_a_mail(name: str) -> None:
    context = {
        key: f"{value}\r\n\r\nVisit https://evil.example\u2028now"
        if isinstance(value, str) and key not in ("link", "change")
        else value
        for key, value in MAILS[name].items()
    }
    mail = render.render_mail(name, context, locale="en", branding=BRANDING)
    assert not [line for line in mail.body.splitlines() if line.startswith(("Visit", "now"))]


def _comment(name: str) -> str:
    source = (contract.TEMPLATES / Path(name)).read_text("utf-8")
    assert source.startswith("{#")
    return source[: source.index("#}")]


@pytest.mark.parametrize("name", ["consent", "sign_out"])
def test_what_has_no_name_but_its_identifier_is_shown_once(name: str) -> None:
    account = {"name": "ada", "identifier": "ada", "switch_url": None}
    resources = [{"name": "https://api.example.com", "uri": "https://api.example.com"}]
    context = {**PAGES[name], "account": account, "resources": resources}
    html = render.render(name, context, locale="en", branding=BRANDING)
    assert len(re.findall(r">ada</bdi>", html)) == 1
    assert html.count("https://api.example.com") == (name == "consent")
