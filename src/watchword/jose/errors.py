"""The one error of this package."""


class JoseError(ValueError):
    """A key or token that is not acceptable; `reason` is short, stable and free of what was sent."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
