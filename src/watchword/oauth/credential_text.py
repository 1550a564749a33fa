"""RFC 6749 appendix A: the signs that a client's identifier, its secret and its tokens are made of.

Refused with ValueError where a program is given them, before any of them is sent: a file or a variable often adds a line end, or is empty.
The text itself is never repeated.
"""

import re

_CREDENTIAL = re.compile(r"[\x20-\x7e]+")  # appendix A.1, A.2
_TOKEN = re.compile(r"[\x21-\x7e]+")  # RFC 6750 §2.1 knows no space, and HTTP cuts one off


def check_credential(what: str, text: object) -> None:
    """Refuse what is no identifier or secret of a client."""
    _check(what, text, _CREDENTIAL)


def check_token(what: str, text: object) -> None:
    """Refuse what is no token."""
    _check(what, text, _TOKEN)


def _check(what: str, text: object, allowed: re.Pattern[str]) -> None:
    if not isinstance(text, str) or not text:
        raise ValueError(f"{what} is empty or no text: was the variable or file that it comes from there?")
    if not allowed.fullmatch(text):
        raise ValueError(f"{what} has a character that it cannot have, such as a line end: strip it")
