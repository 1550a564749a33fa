"""What the package's HTTP clients (httpx) share: which content codings they accept, and errors of their environment in words.

RFC 9110 §8.4: an HTTP client undoes all codings that an answer names before anybody can look at its length. Two layers of gzip make
gigabytes of three kilobytes; one makes a thousand times what came.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping

ACCEPTED = {"accept-encoding": "gzip"}
_READ = ("", "identity", "gzip", "x-gzip")


def is_readable(headers: Mapping[str, str]) -> bool:
    """Whether an answer may be decoded: one that has no coding, or gzip once."""
    return headers.get("content-encoding", "").strip().lower() in _READ


@contextlib.contextmanager
def unusable_environment_as(refusal: Callable[[str], Exception]) -> Iterator[None]:
    """Wrap the making of an HTTP client: raise `refusal(reason)` for a proxy or certificates of the environment that cannot be used."""
    try:
        yield
    except (ImportError, ValueError) as error:  # the former for SOCKS, which needs a package
        raise refusal(f"the proxy that the environment names cannot be used: {error}") from None
    except OSError as error:  # no such SSL_CERT_FILE, or no descriptor left to read it
        raise refusal(f"the certificates of authorities cannot be read: {error}") from None
