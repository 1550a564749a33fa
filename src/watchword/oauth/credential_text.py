"""RFC 6749 appendix A: the characters of client identifiers, client secrets and tokens.

A program that is given one with others refuses it with ValueError before it sends anything: a file or a variable often adds a line
end, or is empty. The message never repeats the value.
"""

import re

_CREDENTIAL = re.compile(r"[\x20-\x7e]+")  # appendix A.1, A.2
_TOKEN = re.compile(r"[\x21-\x7e]+")  # RFC 6750 §2.1 allows no space, and HTTP strips one at the end


def check_credential(what: str, text: object) -> None:
    """Refuse what is no identifier or secret of a client."""
    _check(what, text, _CREDENTIAL)


def check_token(what: str, text: object) -> None:
    """Refuse what is no token."""
    _check(what, text, _TOKEN)


def _check(what: str, text: object, allowed: re.Pattern[str]) -> None:
    if not isinstance(text, str) or not text:
        raise ValueError(
            f"{what} is empty or not a string: does the variable or file that it comes from exist?"
        )
    if " " in text.strip() and not allowed.fullmatch(" "):
        raise ValueError(f"{what} has a space: give it alone, without a word such as Bearer before it")
    if not allowed.fullmatch(text):
        raise ValueError(f"{what} has a character that is not allowed, such as a line end: strip it")
