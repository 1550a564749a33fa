"""One `auth` for httpx and for httpx2, which know nothing of each other."""

import subprocess
import sys

import httpx
import httpx2
from tests.client.conftest import Api
from tests.client.ways import READ, secret_of
from tests.fixtures.live import Live

from watchword.client import HttpxAuth, TokenSource

IN_A_PROGRAM = """
import sys
from watchword.client import ApiToken, HttpxAuth

auth = HttpxAuth(ApiToken("wwa_secret", api="https://api.example.com"))
assert isinstance(auth, HttpxAuth)
assert "httpx2" not in sys.modules
import httpx2

answer = httpx2.MockTransport(lambda request: httpx2.Response(200, text=request.headers["authorization"]))
print(httpx2.Client(auth=auth, transport=answer).get("https://api.example.com/").text)
assert isinstance(auth, HttpxAuth)
"""


def test_clients_of_both_take_turns_with_one_object(live: Live, api: Api) -> None:
    auth = HttpxAuth(TokenSource(live.issuer, secret_of(live), READ, api=api.address, dpop=True))
    with httpx.Client(auth=auth) as one, httpx2.Client(auth=auth) as other:
        for client in (one, other, one):
            assert client.get(f"{api.address}/orders").status_code == 200
    assert len({sent["authorization"] for sent in api.seen}) == 1
    assert all(sent["authorization"].startswith("DPoP ") for sent in api.seen)
    assert len({sent["dpop"] for sent in api.seen}) == 3


def test_httpx2_is_not_imported_and_may_come_after_the_auth() -> None:
    ran = subprocess.run([sys.executable, "-c", IN_A_PROGRAM], capture_output=True, text=True, check=False)
    assert (ran.stdout, ran.stderr) == ("Bearer wwa_secret\n", "")
