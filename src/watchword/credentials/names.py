"""RFC 8265 and RFC 5321: user names and addresses that cannot be mistaken for one another.

Owns the forms under which a name or an address is unique: names that people could confuse have one form. An account is found by its
`canonical_username`; `skeleton` (Unicode TR 39 §4) is compared only when a name is assigned. Nothing is looked up. Domains are in
`addresses`; look-alike letters are in `look_alikes`.
"""

import re
import unicodedata
from collections.abc import Iterator

from watchword.credentials import look_alikes
from watchword.credentials.addresses import AddressRefused, canonical_address, mail_address, shown_domain

MAX_NAME = 64
MAX_DISPLAY = 128
MAX_MARKS = 3
MAX_PILE = 8  # marks on one letter of a text for people; written Tibetan needs seven
SIGNS = "._-+"

_LETTER_DIGITS = frozenset({"Ll", "Lu", "Lo", "Nd", "Lm", "Mn", "Mc"})  # RFC 8264 §9.1
# Of an account, and of a client (`flows.identifiers`).
_IDENTIFIER = re.compile(r"[a-z]+_[0-9a-f]{32}|client_[0-7][0-9a-hjkmnp-tv-z]{25}")
# Letters and marks that show nothing: Hangul fillers, joiners, variation selectors (Default_Ignorable_Code_Point).
_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f"
    "\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
_BLANK = "\u2800"  # a pattern of Braille without dots
_UNCLEAR = re.compile("[^ -~]")
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_JOINERS = dict.fromkeys(map(ord, "\u200c\u200d"))  # within words of some scripts, and within emoji
_VARIANTS = dict.fromkeys(map(ord, "\ufe0e\ufe0f"))  # of emoji


class NameRefused(ValueError):
    """A name or address that is not acceptable; `remedy` says what to change, `field` which input it is."""

    def __init__(self, field: str, remedy: str) -> None:
        super().__init__(remedy)
        self.field = field
        self.remedy = remedy


def canonical_username(name: str, *, email: str | None = None) -> str:
    """Return the form under which a user name is unique: width, compatibility and case folded; raise NameRefused.

    A name may contain @ only where it is the account's own `email`: otherwise it could pass for somebody else's address.
    """
    if not 0 < len(name) <= MAX_NAME and "@" not in name:
        raise _refused(f"The user name must have 1 to {MAX_NAME} characters.")
    if "@" in name:
        return _own_address(name, email)
    folded = _fold(name)
    _check_characters(folded)
    _check_form(folded)
    look = look_alikes.problem(folded)
    if look is not None:
        raise _refused(look)
    return folded


def is_identifier(text: str) -> bool:
    """Whether a text looks like an identifier of this service, which no name does."""
    return _IDENTIFIER.fullmatch(text) is not None


def beginnings(text: str) -> tuple[str, str]:
    """Return the canonical forms of a typed prefix, as the beginning of a user name and of an address."""
    name = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    try:
        return name, canonical_email(text)
    except NameRefused:  # not a complete address yet
        return name, text.lower()


def _own_address(name: str, email: str | None) -> str:
    if email is None or canonical_email(name) != canonical_email(email):
        raise _refused(
            "The user name must not contain @ unless it is the account's own, verified e-mail address."
        )
    return canonical_email(email)


def _fold(name: str) -> str:
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
    # RFC 8265 §3.3.3: the rules must be idempotent.
    if unicodedata.normalize("NFKC", folded.casefold()) != folded:
        raise _refused("The user name may have letters, digits and . _ - + only.")
    return folded


def _check_characters(folded: str) -> None:
    allowed = all(c in SIGNS or unicodedata.category(c) in _LETTER_DIGITS for c in folded)
    if not allowed or _INVISIBLE.search(folded):
        raise _refused("The user name may have letters, digits and . _ - + only.")


def _check_form(folded: str) -> None:
    if not 0 < len(folded) <= MAX_NAME:
        raise _refused(f"The user name must have 1 to {MAX_NAME} characters.")
    if unicodedata.category(folded[0])[0] not in "LN":
        raise _refused("The user name must begin with a letter or digit.")
    if folded[-1] == "." or ".." in folded:  # a path segment, or a name at the end of a sentence
        raise _refused("The user name must not end with a dot or have two in a row.")
    marks = "".join(
        "m" if unicodedata.category(c)[0] == "M" else " " for c in unicodedata.normalize("NFD", folded)
    )
    if "m" * (MAX_MARKS + 1) in marks:
        raise _refused("The user name has too many marks on one letter.")
    if is_identifier(folded):  # what an account's or a client's identifier looks like
        raise _refused("The user name must not look like an identifier of this service.")


def _refused(remedy: str) -> NameRefused:
    return NameRefused("username", remedy)


def skeleton(name: str, *, email: str | None = None) -> str:
    """Return a form that is equal for names which look alike; raise NameRefused.

    Of an address only the domain counts by its looks, which anybody can register: what is before the @ is given out by whoever runs the
    domain, and was proved. So `arnie@example.com` keeps nobody from being `amie@example.com`. The domain is compared as people read it,
    however it was typed: Cyrillic letters that look like `apple` are `xn--80ak6aa92e`, which looks like nothing.
    """
    canonical = canonical_username(name, email=email)
    if "@" not in canonical:
        return look_alikes.skeleton(name)
    local, _, domain = canonical.rpartition("@")
    return f"{local}@{look_alikes.skeleton(shown_domain(domain))}"


def canonical_email(email: str) -> str:
    """Return the form under which an address is unique: case folded, domain in A-labels; raise NameRefused (LG-15)."""
    try:
        return canonical_address(email)
    except AddressRefused as error:
        raise NameRefused("email", str(error)) from None


def deliverable_email(email: str) -> str:
    """Return the address that mail is sent to: the local part as it was typed, the domain in A-labels; raise NameRefused."""
    try:
        return mail_address(email)
    except AddressRefused as error:
        raise NameRefused("email", str(error)) from None


def display(text: str) -> str:
    """RFC 8266: return a display name as it is shown: NFC, single spaces, nothing that reorders or hides text; raise NameRefused."""
    if len(text) > 4 * MAX_DISPLAY:
        raise NameRefused("name", f"The name must have 1 to {MAX_DISPLAY} characters.")
    shown = " ".join(unicodedata.normalize("NFC", text).split())
    if not 0 < len(shown) <= MAX_DISPLAY:
        raise NameRefused("name", f"The name must have 1 to {MAX_DISPLAY} characters.")
    if not is_visible(shown.translate(_JOINERS)) or any(
        unicodedata.category(c) in ("Cn", "Co") for c in shown
    ):
        raise NameRefused("name", "The name has characters that cannot be shown.")
    if _piles_up(shown):
        raise NameRefused("name", "The name has too many marks on one letter.")
    return shown


def flaw(what: str, text: str) -> str | None:
    """Return a sentence, with the subject `what`, that says what is wrong with a text that people will read; None for a good one."""
    if not is_visible(text) or text != text.strip():
        return f"{what} must be text without invisible characters or surrounding spaces."
    return f"{what} has too many marks on one letter." if _piles_up(text) else None


def _piles_up(text: str) -> bool:
    """Whether so many combining marks are stacked that they cover neighbouring lines."""
    seen = unicodedata.normalize("NFC", text.translate(_JOINERS))
    return any(height > MAX_PILE for _, height in _heights(seen))


def _heights(text: str) -> Iterator[tuple[str, int]]:
    """Yield every character with the number of combining marks on the same letter up to it."""
    height = 0
    for c in text:
        height = height + 1 if unicodedata.category(c) in ("Mn", "Me") else 0
        yield c, height


def is_visible(text: str) -> bool:
    """Whether a text has visible characters, and none that are hidden or reorder their surroundings."""
    visible = text.translate(_VARIANTS)
    return (
        bool(visible.replace(_BLANK, "").strip())
        and not any(unicodedata.category(c) in _HIDDEN for c in visible)
        and not _INVISIBLE.search(visible)
    )


def marked(text: str) -> str:
    """Replace every character that is invisible, or that reorders or covers its surroundings, with U+FFFD."""
    seen = _UNCLEAR.sub(_marked, text)
    return "".join("\ufffd" if height > MAX_PILE else c for c, height in _heights(seen))


def _marked(found: re.Match[str]) -> str:
    c = found[0]
    return "\ufffd" if c == _BLANK or unicodedata.category(c) in _HIDDEN or _INVISIBLE.match(c) else c
