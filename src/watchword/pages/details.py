"""RFC 9396: authorization details in plain words: the operator's sentence for their type, and every value that is asked for.

No part of a detail is left out or cut short: a person cannot agree to what they do not see.
"""

from collections.abc import Iterable, Mapping

from watchword.credentials import names
from watchword.http import Request
from watchword.oauth.authorization_details import LIST_FIELDS, Detail
from watchword.pages import browser, render
from watchword.pages.branding import branding_of
from watchword.pages.languages import Language
from watchword.settings import DetailText


def of(request: Request, asked: Iterable[Detail], locale: str | None = None) -> list[dict[str, object]]:
    """Return how the pages show details in a language, by default the browser's."""
    return [described(request, detail, locale or browser.locale_of(request)) for detail in asked]


def described(request: Request, detail: Detail, locale: str) -> dict[str, object]:
    """Return how the pages show a detail: a title, its risk, and a row of label and value for each member."""
    settings = request.runtime.settings
    language = render.locales(branding_of(settings))[locale]
    known = settings.authorization_details.get(str(detail["type"]))
    if known is None:  # the operator has removed the type since
        return {"title": str(detail["type"]), "risk": "high", "rows": []}
    rows = [
        (_label(known, language, name), _text(known, language, name, value))
        for name, value in detail.items()
        if name != "type"
    ]
    return {"title": in_language(known.sentence, locale), "risk": known.risk, "rows": rows}


def in_language(sentence: str | Mapping[str, str], locale: str) -> str:
    """Return an operator's text in a language, or in the first one that the operator gave."""
    if isinstance(sentence, str):
        return sentence
    return sentence.get(locale) or next(iter(sentence.values()), "")


def _label(known: DetailText, language: Language, path: str) -> str:
    if path in known.labels:
        return in_language(known.labels[path], language.code)
    if path in (*LIST_FIELDS, "identifier"):
        return language.texts[f"consent.detail_{path}"]
    return path.rpartition(".")[2]


def _text(known: DetailText, language: Language, path: str, value: object) -> str:
    if isinstance(value, dict):
        parts = (
            f"{_label(known, language, f'{path}.{name}')}: {_text(known, language, f'{path}.{name}', one)}"
            for name, one in value.items()
        )
        return ", ".join(parts)
    if isinstance(value, list):
        return ", ".join(_text(known, language, path, one) for one in value)
    if isinstance(value, bool):
        return language.texts["consent.detail_yes" if value else "consent.detail_no"]
    return names.marked(str(value))  # so that no invisible character makes a value look like another
