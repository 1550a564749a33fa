"""The virtual clock of tests: it stands still until it is moved."""

import time


class Clock:
    """A clock that starts at the current second and moves only when you move it."""

    def __init__(self) -> None:
        self.now = float(int(time.time()))

    def __call__(self) -> float:
        """Return the time in Unix seconds."""
        return self.now

    def advance(self, seconds: float) -> None:
        """Move forward by so many seconds."""
        self.now += seconds
