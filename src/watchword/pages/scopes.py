"""Scopes and resources in plain words, as the operator described them; one without a description shows its name and a guess at its risk."""

from watchword.flows import consents
from watchword.http import Request
from watchword.pages import browser, details

# A scope without a description is shown as risky when its name says that it changes something.
TELLING = ("write", "delete", "admin", "manage", "create", "update", "send")


def described(request: Request, scope: str, locale: str | None = None) -> dict[str, object]:
    """Return how the pages show a scope: its sentence in the reader's language, its risk, and whether it may be left out.

    An optional scope of high risk is not ticked beforehand.
    """
    known = request.runtime.settings.scopes.get(scope)
    if known is None:
        risk = "elevated" if any(word in scope for word in TELLING) else "low"
        return {"name": scope, "sentence": None, "risk": risk, "optional": False, "granted": True}
    sentence = known.sentence
    if isinstance(sentence, dict):
        sentence = details.in_language(sentence, locale or browser.locale_of(request))
    return {
        "name": scope,
        "sentence": sentence or None,
        "risk": known.risk,
        "optional": consents.is_optional(request.runtime.settings, scope),
        "granted": known.risk != "high",
    }


def resource(request: Request, uri: str) -> dict[str, str]:
    """Return how the pages show a resource: the operator's name for it, beside its address."""
    return {"name": request.runtime.settings.resources.get(uri, uri), "uri": uri}
