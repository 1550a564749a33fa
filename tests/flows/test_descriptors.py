"""A server that has as many files open as it may: it says that it is overloaded, and goes on when it is not."""

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.fixtures.servers import open_server

PAGE = {"accept": "text/html"}


@contextmanager
def none_left() -> Iterator[None]:
    """Let this process open no more files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.open(os.devnull, os.O_RDONLY)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("seen", [True, False], ids=["a page says so", "there is no page to say so"])
async def test_without_a_file_descriptor_a_page_is_asked_for_again_in_a_moment(
    tmp_path: Path, seen: bool
) -> None:
    own = tmp_path / "templates"  # so that no template was read before
    own.mkdir()
    async with open_server(tmp_path, template_directory=str(own)) as server:
        if seen:
            assert (await server.http.get("/nowhere", headers=PAGE)).status_code == 404
        with none_left():
            answer = await server.http.get("/sign-in", headers=PAGE)
        assert answer.status_code == 503
        assert int(answer.headers["retry-after"]) > 0
        assert answer.headers["content-type"].startswith("text/html" if seen else "application/json")
        assert (await server.http.get("/sign-in", headers=PAGE)).status_code == 200
