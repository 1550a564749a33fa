"""What every example of a page's context is made of."""

from collections.abc import Mapping

Context = Mapping[str, object]

NOW = 1_800_000_000
DAY = 86_400
ACCOUNT = {"name": "Mara Lindqvist", "identifier": "mara@example.com", "switch_url": "/switch?i=7Q2"}
LANGUAGES = [
    {"code": "en", "name": "English", "url": "?ui_locales=en"},
    {"code": "de", "name": "Deutsch", "url": "?ui_locales=de"},
]
API = [{"name": "Invoices API", "uri": "https://api.example.com/invoices"}]


def form(**more: object) -> dict[str, object]:
    return {
        "csrf": "c5rf",
        "action": "/step",
        "hidden": {"interaction": "7Q2"},
        "languages": LANGUAGES,
        **more,
    }


def reading(context: Context) -> dict[str, object]:
    """A page without a form: nowhere to send one to."""
    return {key: value for key, value in context.items() if key not in ("csrf", "action", "hidden")}
