"""The revocations that this process knows of: consulted with every request, changed by the revocation feed alone.

Owns the question whether a verified token has been revoked, and until when the answer may be trusted. Threads ask without a lock:
what they read is one dictionary and two numbers, and each change of these is atomic.

Clocks may be wrong for a while, ours and the issuer's together on one machine. When they are corrected, no revoked token may become
valid again (CK). So no mark is forgotten until an hour after the clock was last set.
"""

import math
import time
from collections.abc import Callable, Sequence

from watchword.jose import JoseError
from watchword.jose.jwk import b64decode
from watchword.oauth.ended import MARK_BYTES, EndedError, Page

MAX_ENTRIES = 500_000
PURGE_INTERVAL = 60.0
CLOCKS_APART = 60  # seconds by which the issuer's clock may differ from ours
JUMP = 60.0  # seconds by which a clock may part from the monotonic one between two pages
WAIT = 3600.0  # seconds after a jump, or the start, in which nothing is forgotten


class Ended:
    """The marks of tokens that ended.

    `offered` is None until it is known whether the issuer has a feed. `changes` counts the pages that named something. `trusted_until`
    is a moment of the monotonic clock.
    """

    def __init__(self, silence: float, passed: Callable[[], float] = time.monotonic) -> None:
        self._silence = silence
        self._passed = passed
        self._entries: dict[bytes, tuple[int | None, int]] = {}
        self._ahead = -math.inf  # of our clock to the monotonic one, with the last page
        self._purge_at = 0.0  # a moment of the monotonic clock
        self._issued_at = 0
        self.offered: bool | None = None
        self.position = ""
        self.changes = 0
        self.trusted_until = 0.0

    @property
    def is_silent(self) -> bool:
        """Whether the issuer last confirmed that we are up to date too long ago."""
        return self.offered is not False and self._passed() >= self.trusted_until

    def concerns(self, marks: Sequence[bytes], issued_at: int | None) -> bool:
        """Whether a token with one of these marks, issued at this time (Unix seconds), has ended."""
        for mark in marks:
            found = self._entries.get(mark)
            if found is not None and (found[0] is None or issued_at is None or issued_at < found[0]):
                return True
        return False

    def apply(self, page: Page, now: float) -> None:
        """Apply a page that the issuer signed; raise EndedError when it does not continue from our position, or is too old."""
        self._watch(now)
        if page.after not in ("", self.position):
            raise EndedError("pages are missing")
        if page.issued_at < max(self._issued_at, int(now)) - CLOCKS_APART - self._silence:
            raise EndedError("the page is old")
        if self._passed() >= self._purge_at:
            self._entries = {mark: kept for mark, kept in self._entries.items() if kept[1] > now}
            self._purge_at = self._passed() + PURGE_INTERVAL
        # Beyond the limit we stop vouching for tokens: the issuer is asked about each. Nor is more kept, or one issuer of several could take
        # all the memory; the page is read again once there is room.
        if page.entries and len(self._entries) > MAX_ENTRIES:
            self.trusted_until = 0.0
            raise EndedError("more tokens have ended than can be remembered")
        entries = self._entries
        for one in page.entries:
            entries[_digest(one.mark)] = (one.before, one.until)
        self.position, self._issued_at = page.position, max(self._issued_at, page.issued_at)
        if page.entries:
            self.changes += 1
        if not page.more and len(self._entries) <= MAX_ENTRIES:
            self.trusted_until = self._passed() + self._silence

    def _watch(self, now: float) -> None:
        """Notice that our clock was set since the last page."""
        ahead = now - self._passed()
        if abs(ahead - self._ahead) > JUMP:
            self._purge_at = self._passed() + WAIT
            # Otherwise every page would be old after one that was dated by the same wrong clock.
            self._issued_at = min(self._issued_at, int(now))
        self._ahead = ahead

    def distrust(self) -> None:
        """Count as silent until the next page; whether there is a feed is unknown again, unless it is known that there is none."""
        self.trusted_until = 0.0
        self.offered = None if self.offered else self.offered

    def absent(self) -> None:
        """Note that the issuer has no feed."""
        self.offered = False


def _digest(mark: str) -> bytes:
    try:
        found = b64decode(mark)
    except JoseError:
        raise EndedError("malformed mark") from None
    if len(found) != MARK_BYTES:
        raise EndedError("malformed mark")
    return found
