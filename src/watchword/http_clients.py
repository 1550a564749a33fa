"""What the package's HTTP clients (httpx) share: accepted content codings, and plain words for errors of their environment.

RFC 9110 §8.4: an HTTP client undoes all codings of a response before anybody can check its length. One layer of gzip can expand a
response a thousand times; with two, three kilobytes become gigabytes.
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
