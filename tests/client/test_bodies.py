"""The bodies of requests that an API refuses at first: sent again whole, or not at all."""

import io
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import IO, Any

import pytest
from tests.client.conftest import Api
from tests.client.ways import (
    READ,
    WAYS,
    Ask,
    by_async_httpx,
    by_async_httpx2,
    by_httpx,
    by_httpx2,
    by_requests,
    secret_of,
)
from tests.fixtures.live import Live

from watchword.client import TokenSource

LETTER = b"Dear Ada, " * 10_000  # longer than a piece of a body that streams


def bound(live: Live, api: Api) -> TokenSource:
    """A source whose first request the API refuses, for want of a nonce."""
    return TokenSource(live.issuer, secret_of(live), READ, api=api.address, dpop=True, clock=live.clock)


def in_memory(_: Path) -> IO[bytes]:
    """A file of the program's own."""
    return io.BytesIO(LETTER)


def on_disk(folder: Path) -> IO[bytes]:
    """A file."""
    path = folder / "letter"
    path.write_bytes(LETTER)
    return path.open("rb")


class Once(io.BytesIO):
    """What can be read once, such as what another program prints."""

    def seekable(self) -> bool:
        """Refuse."""
        return False

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Refuse."""
        raise io.UnsupportedOperation("seek")

    def tell(self) -> int:
        """Refuse."""
        raise io.UnsupportedOperation("tell")


@WAYS
@pytest.mark.parametrize("made", [in_memory, on_disk])
def test_a_form_with_a_file_is_sent_again_whole(
    live: Live, api: Api, ask: Ask, made: Any, tmp_path: Path
) -> None:
    with made(tmp_path) as file:
        form = {"data": {"to": "ada"}, "files": {"letter": file, "note": ("note.txt", "short")}}
        assert ask(bound(live, api), f"{api.address}/nonce", **form) == 200
    first, second = api.bodies
    assert first == second
    assert LETTER in second
    assert b"ada" in second
    assert b"short" in second


@pytest.mark.parametrize("ask", [by_httpx, by_async_httpx, by_httpx2, by_async_httpx2])
def test_a_form_that_can_be_read_once_is_not_sent_again(live: Live, api: Api, ask: Ask) -> None:
    source = bound(live, api)
    assert ask(source, f"{api.address}/nonce", files={"letter": Once(LETTER)}) == 401, "as the API said"
    assert len(api.bodies) == 1
    assert LETTER in api.bodies[0]
    assert ask(source, f"{api.address}/nonce", content=b"") == 200, "the nonce was learned all the same"


@pytest.mark.parametrize("made", [in_memory, on_disk])
def test_a_file_goes_with_requests_again_from_where_it_was(
    live: Live, api: Api, made: Any, tmp_path: Path
) -> None:
    with made(tmp_path) as file:
        file.seek(5)
        assert by_requests(bound(live, api), f"{api.address}/nonce", data=file) == 200
    assert api.bodies == [LETTER[5:]] * 2


def pieces() -> Iterator[bytes]:
    """What can be iterated over once."""
    yield b"a"
    yield b"b"


async def pieces_in_time() -> AsyncIterator[bytes]:
    """The same, asynchronously."""
    yield b"a"
    yield b"b"


@pytest.mark.parametrize(
    ("ask", "body"),
    [
        (by_httpx, pieces),
        (by_async_httpx, pieces_in_time),
        (by_httpx2, pieces),
        (by_async_httpx2, pieces_in_time),
        (by_requests, pieces),
    ],
)
def test_a_body_that_streams_is_not_sent_again(live: Live, api: Api, ask: Ask, body: Any) -> None:
    source = bound(live, api)
    assert ask(source, f"{api.address}/nonce", content=body()) == 401, "as the API said"
    assert api.bodies == [b"ab"]
    assert ask(source, f"{api.address}/nonce", content=b"ab") == 200


@pytest.mark.parametrize("ask", [by_httpx, by_requests], ids=["httpx", "requests"])
def test_a_file_that_can_be_read_once_is_not_sent_again(live: Live, api: Api, ask: Ask) -> None:
    source = bound(live, api)
    assert ask(source, f"{api.address}/nonce", content=Once(LETTER)) == 401
    assert api.bodies == [LETTER]
    assert ask(source, f"{api.address}/nonce", content=b"") == 200
