"""What can go wrong for a client, by what its program can do about it. No message holds a secret, or what steers a terminal."""

LONGEST = 300  # characters of what a server says


class ClientError(Exception):
    """Anything that kept a client from getting or using a token."""


class Unreachable(ClientError):
    """The authorization server did not answer, or not as it must: try again later."""


class WrongAddress(ClientError):
    """A credential would have gone where it does not belong; nothing was sent."""


class Refused(ClientError):
    """The authorization server said no; `code` is its error code (RFC 6749 §5.2), of both what is printable ASCII is kept."""

    def __init__(self, code: str, description: str = "") -> None:
        code, description = _plain(code), _plain(description)
        super().__init__(f"{code}: {description}" if description else code)
        self.code = code
        self.description = description


class SignInNeeded(Refused):
    """The refresh token is no longer good, and only a person can get another one."""


def _plain(text: str) -> str:
    return "".join(character for character in text[:LONGEST] if " " <= character <= "~")
