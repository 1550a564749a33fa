"""What can go wrong for a client, by what its program can do about it. No message holds a secret."""


class ClientError(Exception):
    """Anything that kept a client from getting or using a token."""


class Unreachable(ClientError):
    """The authorization server did not answer, or not as it must: try again later."""


class WrongAddress(ClientError):
    """A credential would have gone where it does not belong; nothing was sent."""


class Refused(ClientError):
    """The authorization server said no; `code` is its error code (RFC 6749 §5.2)."""

    def __init__(self, code: str, description: str = "") -> None:
        super().__init__(f"{code}: {description}" if description else code)
        self.code = code
        self.description = description


class SignInNeeded(Refused):
    """The refresh token is no longer good, and only a person can get another one."""
