"""Scopes and resources in plain words, as the operator described them; one that nobody described shows its name and a guess at its risk."""

from watchword.http import Request
from watchword.pages import browser

# A scope that was not described is shown as risky when its name says that it changes something.
TELLING = ("write", "delete", "admin", "manage", "create", "update", "send")


def described(request: Request, scope: str) -> dict[str, object]:
    """Return how the pages show a scope: its sentence in the reader's language, its risk, and whether it may be left out."""
    known = request.runtime.settings.scopes.get(scope)
    if known is None:
        risk = "elevated" if any(word in scope for word in TELLING) else "low"
        return {"name": scope, "sentence": None, "risk": risk, "optional": False, "granted": True}
    sentence = known.sentence
    if isinstance(sentence, dict):
        sentence = sentence.get(browser.locale_of(request)) or next(iter(sentence.values()), None)
    return {
        "name": scope,
        "sentence": sentence,
        "risk": known.risk,
        "optional": known.optional,
        "granted": True,
    }


def resource(request: Request, uri: str) -> dict[str, str]:
    """Return how the pages show a resource: the operator's name for it, beside its address."""
    return {"name": request.runtime.settings.resources.get(uri, uri), "uri": uri}
