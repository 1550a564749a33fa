"""What an authorization server words reaches a person's terminal, which must not obey it."""

from pathlib import Path
from typing import Any

import pytest
from tests.client.conftest import Foreign
from tests.fixtures.commands import run_cli

from watchword.client import PublicClient, Unreachable
from watchword.client.proofs import Clocks
from watchword.client.server import AuthorizationServer
from watchword.client.sign_in import Wanted, by_browser

STEERING = "\x1b[2J\x1b]0;all is well\x07\u202e"
BEGUN = {
    "device_code": "d",
    "user_code": "WDJB-MJHT",
    "verification_uri": "https://auth.example.com/device",
    "interval": 1,
    "expires_in": 1,
}


def said_at_a_login(foreign: Foreign, folder: Path) -> str:
    """Return what `watchword login` printed."""
    foreign.metadata = {"device_authorization_endpoint": f"{foreign.issuer}/token"}
    done = run_cli(
        folder,
        "login",
        foreign.issuer,
        "--device",
        "--client-id",
        "a",
        "--file-store",
        variables={"XDG_CONFIG_HOME": str(folder), "XDG_DATA_HOME": str(folder)},
    )
    return done.stdout + done.stderr


WORDED: dict[str, tuple[int, dict[str, Any]]] = {
    "an error": (400, {"error": f"invalid_client{STEERING}", "error_description": f"No.{STEERING}"}),
    "a code to type": (200, BEGUN | {"user_code": f"WDJB{STEERING}"}),
    "a page to open": (200, BEGUN | {"verification_uri": f"https://auth.example.com/{STEERING}"}),
}


@pytest.mark.parametrize("case", WORDED)
def test_a_terminal_shows_and_does_not_obey(foreign: Foreign, tmp_path: Path, case: str) -> None:
    foreign.answer = BEGUN
    assert "WDJB-MJHT" in said_at_a_login(foreign, tmp_path)
    foreign.status, foreign.answer = WORDED[case]
    printed = said_at_a_login(foreign, tmp_path)
    assert "refused" in printed
    assert not {"\x1b", "\x07", "\u202e"}.intersection(printed)


def test_no_page_is_shown_whose_address_a_terminal_would_obey(foreign: Foreign) -> None:
    shown: list[str] = []

    def sign_in(page: str) -> None:
        foreign.metadata = {"authorization_endpoint": page}
        server = AuthorizationServer(foreign.issuer, Clocks())
        with pytest.raises(Unreachable):  # nobody signs in here
            by_browser(server, Wanted(PublicClient("a")), show=shown.append, open_browser=len, patience=0)

    sign_in(f"{foreign.issuer}/authorize")
    assert shown[0].startswith(f"{foreign.issuer}/authorize?")
    sign_in(f"{foreign.issuer}/{STEERING}")
    assert len(shown) == 1
