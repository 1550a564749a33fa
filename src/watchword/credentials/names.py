"""RFC 8265: user names, and addresses, that cannot be mistaken for one another.

Owns normalisation: what two people could confuse is one name here. Nothing is looked up.
"""

import re
import unicodedata

MAX_NAME = 64
MAX_EMAIL = 254

# Letters of other scripts that look like Latin ones (a subset of Unicode TR 39 that covers Cyrillic and Greek).
_LOOK_ALIKE = str.maketrans(
    "аеорсухіјѕԁһӏкмтвнгαοριυνκτε",
    "aeopcyxijsdhlkmtbhraopiuvkte",
)
_LOCAL = re.compile(r"[a-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[a-z0-9!#$%&'*+/=?^_`{|}~-]+)*")
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")


class NameRefused(ValueError):
    """A name or address that is not acceptable; `remedy` says what to change, `field` which input it is."""

    def __init__(self, field: str, remedy: str) -> None:
        super().__init__(remedy)
        self.field = field
        self.remedy = remedy


def canonical_username(name: str) -> str:
    """Return the form under which a user name is unique: width, compatibility and case folded; raise NameRefused."""
    if not 0 < len(name) <= MAX_NAME:
        raise NameRefused("username", f"The user name must have 1 to {MAX_NAME} characters.")
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
    for character in folded:
        category = unicodedata.category(character)
        if category[0] not in "LN" and category != "Mn" and character not in "._-+@":
            raise NameRefused("username", "The user name may have letters, digits and . _ - + @ only.")
    if not 0 < len(folded) <= MAX_NAME or folded[0] in ".-@" or unicodedata.category(folded[0]) == "Mn":
        raise NameRefused("username", "The user name must begin with a letter or digit.")
    if len({_script(character) for character in folded if character.isalpha()}) > 1:
        raise NameRefused("username", "The user name must not mix alphabets.")
    return folded


def _script(character: str) -> str:
    return unicodedata.name(character, "UNKNOWN").split(" ")[0]


def skeleton(name: str) -> str:
    """Return a form that is equal for names which look alike; raise NameRefused."""
    plain = unicodedata.normalize("NFD", canonical_username(name))
    return "".join(character for character in plain if unicodedata.category(character) != "Mn").translate(
        _LOOK_ALIKE
    )


def canonical_email(email: str) -> str:
    """Return the form under which an address is unique: case folded, domain in A-labels; raise NameRefused (LG-15)."""
    local, at, domain = unicodedata.normalize("NFKC", email).casefold().partition("@")
    try:
        ascii_domain = domain.encode("idna").decode("ascii")
    except UnicodeError:
        ascii_domain = ""
    labels = ascii_domain.split(".")
    if not at or len(email) > MAX_EMAIL or not _LOCAL.fullmatch(local) or len(local) > 64:
        raise NameRefused("email", "This is not an e-mail address such as name@example.com.")
    if len(labels) < 2 or not all(_LABEL.fullmatch(label) for label in labels):
        raise NameRefused("email", "This is not an e-mail address such as name@example.com.")
    return f"{local}@{ascii_domain}"
