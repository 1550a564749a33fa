"""Groups of people: what they are called, and which scopes are open to whom.

Tokens tell them as RFC 9068 §2.2.3.1 has it. Which scopes are for members alone is said by the operator; who is one as well.
"""

import re
from collections.abc import Collection, Iterable

from watchword.oauth.errors import OAuthError

SCOPE = "groups"  # by which applications and APIs learn somebody's groups
MAX_GROUPS = 100
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@-]{0,99}")


def check(names: Iterable[str]) -> tuple[str, ...]:
    """Return the names of groups, each once and in order; raise `invalid_request` for one that cannot be used, or for too many."""
    found = tuple(sorted(set(names)))
    if len(found) > MAX_GROUPS:
        raise OAuthError("invalid_request", f"No more than {MAX_GROUPS} groups can be named.", field="groups")
    for name in found:
        if not is_name(name):
            raise OAuthError(
                "invalid_request",
                "The name of a group has at most 100 letters, digits and characters of ._:/@-, and begins with a letter or digit.",
                field="groups",
            )
    return found


def is_name(text: str) -> bool:
    """Whether a group can be called so."""
    return _NAME.fullmatch(text) is not None


def is_open(members: Collection[str], groups: Collection[str]) -> bool:
    """Whether something is open to a person of these groups: `members` are the groups that it is for, none for everybody."""
    return not members or not set(members).isdisjoint(groups)
