"""RFC 9111: the few static files of the pages, addressed by content so that they may be cached for ever.

Owns which files there are and their addresses. Serving them is the application's business.
"""

import hashlib
from functools import lru_cache
from pathlib import Path

import msgspec

from watchword.pages.branding import Branding, stylesheet

STATIC = Path(__file__).parent / "static"
TYPES = {
    "watchword.css": "text/css; charset=utf-8",
    "watchword.js": "text/javascript; charset=utf-8",
    "mark.svg": "image/svg+xml",
    "brand.css": "text/css; charset=utf-8",
}
CACHE_CONTROL = "public, max-age=31536000, immutable"


class Asset(msgspec.Struct, frozen=True):
    """A static file as it is served."""

    body: bytes
    content_type: str
    version: str


@lru_cache(maxsize=64)
def find(name: str, branding: Branding) -> Asset | None:
    """Return the static file of a name; None when there is none. Only the names of `TYPES` exist."""
    if name not in TYPES:
        return None
    body = stylesheet(branding).encode() if name == "brand.css" else (STATIC / name).read_bytes()
    return Asset(body, TYPES[name], hashlib.sha256(body).hexdigest()[:16])


def address(name: str, branding: Branding) -> str:
    """Return where a page finds a static file; raises KeyError for an unknown name."""
    asset = find(name, branding)
    if asset is None:
        raise KeyError(name)
    return f"{branding.asset_path}/{name}?v={asset.version}"
