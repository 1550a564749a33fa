"""The log of outages: why tokens cannot be checked, for those who run the API. Callers do not learn it."""

import logging
import math
import time

from watchword.guard.remembered import remember

LOG_INTERVAL = 60.0  # seconds before the same reason is logged again
LOG = logging.getLogger("watchword.guard")


class OutageLog:
    """Logs each reason at most once a minute."""

    def __init__(self) -> None:
        self._logged: dict[str, float] = {}

    def note(self, reason: str) -> None:
        """Log a reason, unless that was done a moment ago."""
        now = time.monotonic()
        if now - self._logged.get(reason, -math.inf) > LOG_INTERVAL:
            remember(self._logged, reason, now)
            LOG.warning("tokens cannot be checked, and callers get a 503: %s", reason)
