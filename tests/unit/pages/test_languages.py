"""Catalogues that say the same in every language, and the choice among them."""

import re
import tomllib
from pathlib import Path

import pytest
from markupsafe import Markup

from watchword.pages import contract, languages

KNOWN = languages.available()
ENGLISH = KNOWN["en"]
OTHERS = sorted(set(KNOWN) - {"en"})
SOURCES = "\n".join(path.read_text("utf-8") for path in contract.TEMPLATES.rglob("*.*"))
CALL = re.compile(r"""\b(?:t|has_text)\(["']([a-z_.]+)["'](\s*~)?""")
# Read by code: dates, language names, and texts found by a failure's, a notice's or a mail's name.
BY_NAME = (
    "format.",
    "language.",
    "problem.",
    "notice.",
    "advice.",
    "user_agent.",
    "error_page.",
    "scope.",
    "consent.detail_",
)


def places(text: str) -> set[str]:
    return set(re.findall(r"\{(\w+)\}", text))


@pytest.mark.parametrize("code", OTHERS)
def test_every_language_has_the_same_texts(code: str) -> None:
    own = languages._flatten(_document(code))
    assert own.keys() == ENGLISH.texts.keys()


@pytest.mark.parametrize("code", OTHERS)
def test_a_translation_mentions_the_same_things(code: str) -> None:
    differing = [key for key, text in KNOWN[code].texts.items() if places(text) != places(ENGLISH.texts[key])]
    assert differing == []


@pytest.mark.parametrize("code", sorted(KNOWN))
def test_a_text_is_plain_and_not_empty(code: str) -> None:
    assert [
        key for key, text in KNOWN[code].texts.items() if not text.strip() or re.search(r"[<>&]", text)
    ] == []


def test_every_text_that_a_template_names_exists() -> None:
    named = [(key, bool(open_ended)) for key, open_ended in CALL.findall(SOURCES)]
    assert len(named) > 200
    missing = [
        key
        for key, open_ended in named
        if (
            not any(text.startswith(key) for text in ENGLISH.texts)
            if open_ended
            else key not in ENGLISH.texts
        )
    ]
    assert missing == []


def test_every_text_is_used() -> None:
    calls = CALL.findall(SOURCES)
    exact = {key for key, open_ended in calls if not open_ended}
    starts = tuple({key for key, open_ended in calls if open_ended}) + BY_NAME
    unused = [
        key
        for key in ENGLISH.texts
        if key not in exact and not key.startswith(starts) and not re.fullmatch(r"mail\.\w+\.subject", key)
    ]
    assert unused == []


@pytest.mark.parametrize(
    ("ui_locales", "accept_language", "expected"),
    [
        pytest.param(None, None, "en", id="English is spoken to whoever says nothing"),
        pytest.param(None, "de-AT,de;q=0.9,en;q=0.8", "de", id="a region falls back to its language"),
        pytest.param(None, "fr,en;q=0.2,de;q=0.7", "de", id="the weight decides and not the order"),
        pytest.param(None, "de;q=0,en;q=0.1", "en", id="a weight of zero means never"),
        pytest.param("de", "en", "de", id="ui_locales comes before the browser's wish"),
        pytest.param("fr DE", "en", "de", id="case does not matter and unknown languages are passed over"),
        pytest.param(None, "zh-Hant-TW,*;q=0.5", "en", id="anything else gets English"),
        pytest.param(None, "de;q=nan,de;q=1e9,;;;=,,en", "en", id="a malformed weight counts as never"),
        pytest.param("../../etc/passwd", "\x00", "en", id="nonsense gets English"),
    ],
)
def test_the_language_is_chosen_from_the_wishes(
    ui_locales: str | None, accept_language: str | None, expected: str
) -> None:
    assert languages.choose(KNOWN, ui_locales, accept_language) == expected


@pytest.mark.parametrize(
    "flood", ["x-" * 100_000, "," * 300_000, "x;q=0.5," * 50_000, " " * 300_000, "-" * 300_000]
)
def test_a_flood_of_wishes_is_read_to_a_bound_only(flood: str) -> None:
    assert languages.choose(KNOWN, "x de", "x,de") == "de"
    assert languages.choose(KNOWN, f"{flood} de", f"{flood},de") == "en"


def test_what_is_filled_in_is_escaped_unless_it_is_markup() -> None:
    filled = languages.fill_html(ENGLISH, "sign_in.lead", service="<b>&{service}")
    assert filled == "Welcome back to &lt;b&gt;&amp;{service}."
    assert "<b>x</b>" in languages.fill_html(ENGLISH, "sign_in.lead", service=Markup("<b>x</b>"))


def test_dates_are_written_as_the_language_writes_them() -> None:
    assert languages.moment(ENGLISH, 1_800_000_000) == "15 January 2027, 08:00 UTC"
    assert languages.date(KNOWN["de"], 1_800_000_000) == "15. Januar 2027"


def test_a_file_adds_a_language_and_what_it_lacks_is_english(tmp_path: Path) -> None:
    (tmp_path / "sv.toml").write_text(
        '[language]\nname = "Svenska"\n[sign_in]\ntitle = "Logga in"\n', "utf-8"
    )
    (tmp_path / "en.toml").write_text('[sign_in]\ntitle = "Log on"\n', "utf-8")
    known = languages.available(tmp_path)
    assert known["sv"].name == "Svenska"
    assert known["sv"].texts["sign_in.title"] == "Logga in"
    assert known["sv"].texts["sign_in.password"] == "Password"
    assert known["en"].texts["sign_in.title"] == "Log on"
    assert languages.choose(known, None, "sv-SE,en;q=0.5") == "sv"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        pytest.param("svenska.toml", "", id="a file is named by its language tag"),
        pytest.param("sv.toml", "[sign_in]\ntitle = 3\n", id="a text is a text"),
        pytest.param("sv.toml", '[language]\ndirection = "up"\n', id="a direction is ltr or rtl"),
    ],
)
def test_a_malformed_catalogue_is_refused_at_start(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text, "utf-8")
    with pytest.raises(ValueError):
        languages.available(tmp_path)


def _document(code: str) -> dict[str, object]:
    return tomllib.loads((languages.PACKAGED / f"{code}.toml").read_text("utf-8"))
