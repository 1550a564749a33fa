"""The errors of the client, by what a program can do about them. No message contains a secret or a terminal control character."""

LONGEST = 300  # characters of a server's text that are kept


class ClientError(Exception):
    """The client could not get or use a token; the base of all errors here."""


class Unreachable(ClientError):
    """The authorization server did not answer properly: try again later, after `retry_after` seconds if it named a time."""

    def __init__(self, message: str, retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class AnswerLost(Unreachable):
    """The request was sent and no answer came: the authorization server may have done what it was asked for."""


class WrongAddress(ClientError):
    """A credential would have gone to the wrong address; nothing was sent."""


class NoKeyring(ClientError):
    """There is no key ring here, or it cannot be opened."""


class Refused(ClientError):
    """The authorization server refused; `code` is its error code (RFC 6749 §5.2). Only printable ASCII is kept of code and description."""

    def __init__(self, code: str, description: str = "") -> None:
        code, description = _plain(code), _plain(description)
        super().__init__(f"{code}: {description}" if description else code)
        self.code = code
        self.description = description


class SignInNeeded(Refused):
    """The refresh token is no longer valid: a person has to sign in again."""


def _plain(text: str) -> str:
    return "".join(character for character in text[:LONGEST] if " " <= character <= "~")
