"""RFC 9110 §8.4: which content codings of an answer are read.

An HTTP client undoes one after the other whatever an answer says that was done to it, before anybody can look at its length. Two layers
of gzip make gigabytes of three kilobytes; one makes a thousand times what came.
"""

from collections.abc import Mapping

ACCEPTED = {"accept-encoding": "gzip"}
_READ = ("", "identity", "gzip", "x-gzip")


def is_readable(headers: Mapping[str, str]) -> bool:
    """Whether an answer may be decoded: one that has no coding, or gzip once."""
    return headers.get("content-encoding", "").strip().lower() in _READ
