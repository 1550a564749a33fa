"""HTML Living Standard: pages and mails made from templates, texts and a context.

Owns the contract between a template and its caller: a template's first comment names everything it needs, and anything missing is an
error, never a blank. A service's own templates (`Branding.template_directory`) extend `watchword/<page>.html`, replace single blocks,
and name the contract's version in their first line.
"""

import difflib
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from markupsafe import Markup, escape

from watchword.pages import assets, languages
from watchword.pages.branding import Branding
from watchword.pages.contract import ContractError
from watchword.pages.languages import Language
from watchword.store import unreadable

if TYPE_CHECKING:
    from jinja2 import Environment

DEFAULTS: Mapping[str, object] = {
    "hidden": {},
    "errors": {},
    "values": {},
    "notice": None,
    "languages": (),
    "here": None,
}


class Problem(msgspec.Struct, frozen=True):
    """A named failure shown beside a field, with the values of its text; a plain string will do where the text has none."""

    name: str
    values: Mapping[str, str | int] = msgspec.field(default_factory=dict)


class Mail(msgspec.Struct, frozen=True):
    """A mail's subject (one line) and its plain text."""

    subject: str
    body: str


class Sparse(dict[str, object]):
    """Values by field, of which most fields have none: reading a missing field gives None and adds nothing."""

    def __missing__(self, name: str) -> None:
        return None


def render(
    template: str,
    context: Mapping[str, object],
    *,
    locale: str,
    branding: Branding,
) -> str:
    """Return a page ("sign_in", "account/passkeys", …) as HTML.

    Raises jinja2.UndefinedError when the context lacks something, jinja2.TemplateNotFound for an unknown page.
    """
    environment = _environment(branding.template_directory)
    language = _language(branding, locale)
    names: dict[str, Any] = {**DEFAULTS, **_vocabulary(language, branding), **context}
    names |= {per_field: Sparse(names[per_field]) for per_field in ("errors", "values")}
    names["parts"] = environment.get_template("parts.html").make_module(names)
    return environment.get_template(f"{template}.html").render(names)


def render_mail(template: str, context: Mapping[str, object], *, locale: str, branding: Branding) -> Mail:
    """Return a mail ("verify", "reset", …) with its subject; raises as `render` does.

    `locale` is a language tag such as "de-AT", or empty where the language of the person is not known.
    """
    language = _language(branding, languages.choose(locales(branding), locale, None))
    translate = partial(languages.fill_text, language)
    names = {
        "t": translate,
        "brand": branding,
        "moment": partial(languages.moment, language),
        "date": partial(languages.date, language),
        "line": languages.one_line,
        **context,
    }
    body = _environment(branding.template_directory).get_template(f"mail/{template}.txt").render(names)
    return Mail(
        languages.one_line(translate(f"mail.{template}.subject", service=branding.name)), body.strip() + "\n"
    )


def locales(branding: Branding) -> Mapping[str, Language]:
    """Return the languages of this service, its own catalogues included."""
    own = branding.template_directory / "locales" if branding.template_directory else None
    return languages.available(own)


def check_own_templates(branding: Branding) -> None:
    """Load every template and catalogue of the service's own directory at start; raises ContractError naming the file."""
    from jinja2 import TemplateError

    from watchword.pages.environment import check_blocks

    locales(branding)
    own = branding.template_directory
    if own is None:
        return
    environment = _environment(own)
    for name in environment.list_templates(extensions=["html", "txt"]):
        # The packaged ones are known to parse; to compile them all takes seconds, in every process that starts.
        if not (own / name).is_file():
            continue
        try:
            environment.get_template(name)
            check_blocks(environment, name)
        except TemplateError as error:
            raise ContractError(f"{name}: {error}") from None


def unknown_texts(branding: Branding) -> list[str]:
    """Return what is to be said of texts in the service's own catalogues that nothing shows.

    They keep nothing from starting: a translation may hold what an earlier release showed.
    """
    own = branding.template_directory
    if own is None:
        return []
    packaged = languages.available()[languages.DEFAULT].texts
    sections = {key.partition(".")[0] for key in packaged}
    templates = "".join(
        path.read_text("utf-8") for path in own.rglob("*.*") if path.suffix in (".html", ".txt")
    )
    said = []
    for file, key in languages.own_keys(own / "locales"):
        section = key.partition(".")[0]
        is_shown = key in packaged or section == "scope"  # of which the operator has more
        if not is_shown and (key if section in sections else f"{section}.") not in templates:
            near = difflib.get_close_matches(key, packaged, n=1)
            said.append(f"{file}: nothing shows {key!r}" + (f": did you mean {near[0]!r}?" if near else ""))
    return said


@lru_cache(maxsize=16)
def _environment(own: Path | None) -> "Environment":
    # Only with the first page: a server that only issues tokens never needs it.
    from watchword.pages import environment

    return environment.make(own)


def _language(branding: Branding, locale: str) -> Language:
    known = locales(branding)
    return known.get(locale, known[languages.DEFAULT])


def _vocabulary(language: Language, branding: Branding) -> dict[str, object]:
    return {
        "t": partial(languages.fill_html, language),
        "has_text": language.texts.__contains__,
        "problem": partial(_problem, language),
        "strong": partial(_wrap, "strong"),
        "name": partial(_wrap, "bdi"),
        "date": partial(languages.date, language),
        "moment": partial(languages.moment, language),
        "iso": iso,
        "asset": lambda name: assets.address(name, branding),
        "brand": branding,
        "locale": language.code,
        "direction": language.direction,
    }


def _problem(language: Language, problem: str | Problem) -> Markup:
    named = Problem(problem) if isinstance(problem, str) else problem
    return languages.fill_html(language, f"problem.{named.name}", **named.values)


def _wrap(element: str, value: object) -> Markup:
    inner = escape(value) if element == "bdi" else Markup("<bdi>{}</bdi>").format(value)
    return Markup(f"<{element}>{{}}</{element}>").format(inner)  # noqa: S704  the element is one of two literals


def iso(seconds: int) -> str:
    """Return a time in Unix seconds as RFC 3339 writes it, in UTC."""
    return datetime.fromtimestamp(unreadable.moment(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
