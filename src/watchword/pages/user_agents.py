"""User-Agent strings in words: which browser on which system, for lists of sessions and notices; never used to decide anything."""

import re

import msgspec

_BROWSERS = (
    ("Edge", re.compile(r"Edg(?:e|A|iOS)?/")),
    ("Opera", re.compile(r"OPR/")),
    ("Samsung Internet", re.compile(r"SamsungBrowser/")),
    ("Firefox", re.compile(r"Firefox/|FxiOS/")),
    ("Chrome", re.compile(r"Chrome/|CriOS/|HeadlessChrome/")),
    ("Safari", re.compile(r"Safari/")),
)
_SYSTEMS = (
    ("iPhone", re.compile(r"iPhone")),
    ("iPad", re.compile(r"iPad")),
    ("Android", re.compile(r"Android")),
    ("Windows", re.compile(r"Windows")),
    ("macOS", re.compile(r"Mac OS X|Macintosh")),
    ("ChromeOS", re.compile(r"CrOS")),
    ("Linux", re.compile(r"Linux|X11")),
)
_PROGRAM = re.compile(r"([A-Za-z][A-Za-z0-9._-]{1,40})/")


class Device(msgspec.Struct, frozen=True):
    """What a device is called, and whether it looks like a phone."""

    name: str
    kind: str


def describe(user_agent: str, on: str = "{browser} on {system}", unknown: str = "Unknown program") -> Device:
    """Return how the browser with this User-Agent is shown to its owner; `on` and `unknown` are texts of a language."""
    browser = _first(_BROWSERS, user_agent)
    system = _first(_SYSTEMS, user_agent)
    kind = "phone" if system in ("iPhone", "iPad", "Android") else "computer"
    if browser is None:
        program = _PROGRAM.match(user_agent)
        browser = program[1] if program else unknown
    return Device(on.format(browser=browser, system=system) if system else browser, kind)


def _first(table: tuple[tuple[str, re.Pattern[str]], ...], text: str) -> str | None:
    return next((name for name, pattern in table if pattern.search(text)), None)
