"""The client's refresh tokens in files: rotated, shared by processes, and not used when others can read them."""

import errno
import hashlib
import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
import msgspec
import pytest
from tests.client.conftest import Api, Foreign
from tests.client.ways import READ, by_httpx, secret_of
from tests.fixtures.disks import no_file_may_grow_beyond
from tests.fixtures.live import Browser, Live

from watchword.client import (
    ClientSecret,
    FileStore,
    HttpxAuth,
    PublicClient,
    RefreshToken,
    SignInNeeded,
    TokenSource,
    Unreachable,
)
from watchword.client.store import Record
from watchword.oauth import pkce
from watchword.testing.clock import Clock

CALLBACK = "http://localhost:7777/cb"


def signed_in(live: Live, client_id: str) -> str:
    """Walk a person through the code flow; return the refresh token."""
    live.user("ada")
    verifier = "v" * 43
    request = {
        "client_id": client_id,
        "redirect_uri": CALLBACK,
        "response_type": "code",
        "scope": "orders:read offline_access",
        "code_challenge": pkce.challenge_of(verifier),
        "code_challenge_method": "S256",
        "prompt": "consent",
    }
    ended = Browser(live.issuer).visit(f"{live.issuer}/authorize?{urlencode(request)}")
    form = {
        "grant_type": "authorization_code",
        "code": parse_qs(urlsplit(ended).query)["code"][0],
        "redirect_uri": CALLBACK,
        "code_verifier": verifier,
        "client_id": client_id,
    }
    return str(httpx.post(f"{live.issuer}/token", data=form).json()["refresh_token"])


def public_client(live: Live) -> str:
    """Register a public client of the code flow."""
    registered = live.client(
        redirect_uris=[CALLBACK],
        grant_types=["authorization_code", "refresh_token"],
        token_endpoint_auth_method="none",
        scope="orders:read offline_access",
    )
    return str(registered.client.client_id)


def test_a_record_is_kept_where_a_file_system_settles_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, settle = FileStore(tmp_path / "token.json"), os.fsync

    def of_files_alone(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")
        settle(descriptor)

    store.save(Record("ada", access_token="first"))
    monkeypatch.setattr(os, "fsync", of_files_alone)
    store.save(Record("ada", access_token="second"))
    assert store.load() == Record("ada", access_token="second")


def test_a_refresh_token_rotates_in_its_file_and_its_end_needs_a_person(
    live: Live, api: Api, tmp_path: Path
) -> None:
    client_id = public_client(live)
    first = signed_in(live, client_id)
    store = FileStore(tmp_path / "kept" / "token.json")

    def source() -> TokenSource:
        return TokenSource(
            live.issuer,
            PublicClient(client_id),
            RefreshToken(first),
            api=api.address,
            store=store,
            clock=live.clock,
        )

    seen = set()
    for _ in range(3):
        assert by_httpx(source(), f"{api.address}/orders") == 200
        kept = store.load()
        assert kept is not None
        seen.add(kept.refresh_token)
        live.clock.advance(live.app.settings.access_token_lifetime)
    assert len(seen) == 3
    assert stat.S_IMODE(store.path.stat().st_mode) == 0o600
    kept = store.load()
    assert kept is not None
    assert kept.refresh_token not in repr(kept)
    httpx.post(f"{live.issuer}/revoke", data={"token": kept.refresh_token, "client_id": client_id})
    live.clock.advance(live.app.settings.refresh_token_lifetime)
    with pytest.raises(SignInNeeded):
        source().token()


def test_a_full_disk_costs_nobody_the_sign_in(foreign: Foreign, tmp_path: Path) -> None:
    clock, store = Clock(), FileStore(tmp_path / "token.json")
    source = TokenSource(
        foreign.issuer, PublicClient("a"), RefreshToken("first"), api=foreign.issuer, store=store, clock=clock
    )
    foreign.answer = {
        "access_token": "a",
        "token_type": "Bearer",
        "expires_in": 60,
        "refresh_token": "second",
    }
    with no_file_may_grow_beyond(0), pytest.raises(OSError, match="File too large"):
        source.token()
    assert not foreign.forms, "the first refresh token was not used either"
    assert source.token() == "a"
    foreign.answer |= {"access_token": "b", "refresh_token": "third"}
    clock.advance(50)
    with no_file_may_grow_beyond(0):
        assert source.token() == "a", "still good"
        clock.advance(10)
        with pytest.raises(OSError, match="File too large"):
            source.token()
    assert len(foreign.forms) == 1, "a refresh token whose successor would be lost is not used"
    assert source.token() == "b"
    assert foreign.forms[-1]["refresh_token"] == "second"


class Watching(httpx.HTTPTransport):
    """Notes the files beside a record while a token is asked for."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder
        self.seen: list[os.stat_result] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Note, and send on."""
        if request.url.path == "/token":
            self.seen = [path.stat() for path in self.folder.glob("token.json.*.*")]
        return super().handle_request(request)


def test_a_successor_is_written_where_room_was_before_a_refresh_token_was_used(
    foreign: Foreign, tmp_path: Path
) -> None:
    clock, store, watching = Clock(), FileStore(tmp_path / "token.json"), Watching(tmp_path)
    http = httpx.Client(transport=watching)
    source = TokenSource(
        foreign.issuer,
        PublicClient("a"),
        RefreshToken("r"),
        api=foreign.issuer,
        store=store,
        clock=clock,
        http=http,
    )
    foreign.answer = {"access_token": "a" * 3000, "token_type": "Bearer", "expires_in": 60}
    for successor in ("s" * 3000, "t"):
        foreign.answer |= {"refresh_token": successor}
        source.token()
        (room,) = watching.seen
        kept = store.path.stat()
        assert (kept.st_ino, stat.S_IMODE(kept.st_mode)) == (room.st_ino, 0o600)
        assert room.st_size > kept.st_size
        assert (record := store.load()) is not None
        assert record.refresh_token == successor
        clock.advance(60)
    foreign.status, foreign.answer = 503, {}
    with pytest.raises(Unreachable):
        source.token()
    assert len(watching.seen) == 1
    assert {path.name for path in tmp_path.glob("token.json*")} == {"token.json", "token.json.lock"}


KILLED = """
import os, sys, httpx
from watchword.client import FileStore, PublicClient, RefreshToken, TokenSource
class Killed(httpx.HTTPTransport):
    def handle_request(self, request):
        if request.url.path == "/token":
            os._exit(9)
        return super().handle_request(request)
http = httpx.Client(transport=Killed())
TokenSource(
    sys.argv[1], PublicClient("a"), RefreshToken("r"), api=sys.argv[1], store=FileStore(sys.argv[2]), http=http
).token()
"""


def test_the_room_of_a_process_that_was_killed_is_given_back(foreign: Foreign, tmp_path: Path) -> None:
    store = FileStore(tmp_path / "token.json")
    command = [sys.executable, "-c", KILLED, foreign.issuer, str(store.path)]
    for _ in range(2):
        assert subprocess.run(command, timeout=60, check=False).returncode == 9
        assert len([*tmp_path.glob("token.json.*.*")]) == 1, "what that of before left is gone"
    (tmp_path / "token.json.2026.11").write_text("somebody's own")
    foreign.answer = {"access_token": "a", "token_type": "Bearer", "expires_in": 60}
    source = TokenSource(
        foreign.issuer, PublicClient("a"), RefreshToken("r"), api=foreign.issuer, store=store
    )
    assert source.token() == "a"
    kept = {"token.json", "token.json.lock", "token.json.2026.11"}
    assert {path.name for path in tmp_path.glob("token.json*")} == kept


def test_on_a_full_disk_a_program_gets_the_answer_of_its_api(foreign: Foreign, tmp_path: Path) -> None:
    clock, store = Clock(), FileStore(tmp_path / "token.json")
    source = TokenSource(
        foreign.issuer, ClientSecret("a", "b"), READ, api=foreign.issuer, store=store, clock=clock
    )

    def refuse(request: httpx.Request) -> httpx.Response:
        return httpx.Response(401, headers={"www-authenticate": 'Bearer error="invalid_token"'})

    with httpx.Client(auth=HttpxAuth(source), transport=httpx.MockTransport(refuse)) as http:
        assert source.token() == "token-1"
        clock.advance(5)
        with no_file_may_grow_beyond(0):
            assert http.get(foreign.issuer).status_code == 401
        assert len(foreign.forms) == 1
        assert http.get(foreign.issuer).status_code == 401
        assert len(foreign.forms) == 2, "another token is tried where it can be kept"


def test_a_tilde_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    FileStore("~/.orders/token.json").save(Record("somebody"))
    assert (tmp_path / "home/.orders/token.json").exists()
    assert os.listdir(tmp_path) == ["home"]


def test_a_file_of_an_earlier_release_is_gone_on_with(live: Live, tmp_path: Path) -> None:
    client_id = public_client(live)
    first, store = signed_in(live, client_id), FileStore(tmp_path / "token.json")

    def source() -> TokenSource:
        return TokenSource(
            live.issuer, PublicClient(client_id), RefreshToken(first), api="https://a.example", store=store
        )

    source().token()
    kept = store.load()
    assert kept is not None
    begun = hashlib.sha256(first.encode()).hexdigest()[:16]
    store.save(msgspec.structs.replace(kept, owner=f"{live.issuer} {client_id} refresh_token   {begun}"))
    assert source().token() == kept.access_token, "to begin anew by the first token would end the family"


def test_a_process_that_goes_on_takes_the_key_of_tokens_that_another_bound(
    live: Live, api: Api, tmp_path: Path
) -> None:
    store, secret = FileStore(tmp_path / "token.json"), secret_of(live)

    def source() -> TokenSource:
        return TokenSource(
            live.issuer, secret, READ, api=api.address, dpop=True, store=store, clock=live.clock
        )

    goes_on = source()
    assert by_httpx(goes_on, f"{api.address}/orders") == 200
    store.save(None)  # signed out, and in again: by another process, with another key
    other = source()
    assert by_httpx(other, f"{api.address}/orders") == 200
    assert by_httpx(goes_on, f"{api.address}/orders") == 200, "its own token and key are good still"
    live.clock.advance(590)  # and now it is to be renewed
    store.save(None)
    assert by_httpx(other, f"{api.address}/orders") == 200
    bound = other.token()
    assert by_httpx(goes_on, f"{api.address}/orders") == 200
    assert goes_on.token() == other.token() == bound, "one token for both, which nobody has given up"


RACER = """
import sys
from watchword.client import FileStore, PublicClient, RefreshToken, TokenSource
issuer, client_id, first, path = sys.argv[1:]
store = FileStore(path)
sys.stdin.readline()
source = TokenSource(issuer, PublicClient(client_id), RefreshToken(first), api="https://a.example", store=store)
print(source.token())
"""


def test_processes_share_one_rotating_refresh_token(live: Live, tmp_path: Path) -> None:
    client_id = public_client(live)
    arguments = [live.issuer, client_id, signed_in(live, client_id), str(tmp_path / "token.json")]
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACER, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("\n")
        racer.stdin.flush()
    tokens = {racer.communicate(timeout=60)[0].strip() for racer in racers}
    assert len(tokens) == 1, "one refreshed, the others found what it got"
    assert len(tokens.pop()) > 20


FORKING = """
import os, signal, sys, threading
from watchword.client import FileStore
store = FileStore(sys.argv[1])
held, forked = threading.Event(), threading.Event()
def renew():
    with store.lock():
        held.set()
        forked.wait()
renewing = threading.Thread(target=renew)
renewing.start()
held.wait()
end, kept = os.pipe()
if not os.fork():
    os.close(kept)
    os.read(end, 1)  # until its parent ends
    os._exit(0)
forked.set()
renewing.join()
signal.alarm(20)
with store.lock():
    print("renewed")
"""


def test_a_worker_that_is_forked_during_a_renewal_keeps_no_lock(tmp_path: Path) -> None:
    command = [sys.executable, "-c", FORKING, str(tmp_path / "token.json")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "renewed\n"), done.stderr


def test_a_file_that_others_can_read_or_that_is_damaged_is_not_used(
    live: Live, api: Api, tmp_path: Path
) -> None:
    store = FileStore(tmp_path / "token.json")
    secret = secret_of(live)
    first = TokenSource(live.issuer, secret, READ, api=api.address, store=store).token()
    assert TokenSource(live.issuer, secret, READ, api=api.address, store=store).token() == first
    other = TokenSource(live.issuer, secret_of(live), READ, api=api.address, store=store)
    assert other.token() != first, "a record is good for whom it was made only"
    for damaged in (b"\xff{", b'{"owner":"\xff"}'):
        store.path.write_bytes(damaged)
        assert TokenSource(live.issuer, secret, READ, api=api.address, store=store).token()
    store.path.chmod(0o644)
    with pytest.raises(PermissionError, match="chmod 600"):
        TokenSource(live.issuer, secret, READ, api=api.address, store=store).token()


def test_a_key_that_was_damaged_in_its_file_is_replaced_with_its_tokens(
    live: Live, api: Api, tmp_path: Path
) -> None:
    path, secret = tmp_path / "token.json", secret_of(live)

    def status() -> int:
        source = TokenSource(
            live.issuer,
            secret,
            READ,
            api=api.address,
            dpop=True,
            store=FileStore(path),
            clock=live.clock,
        )
        return by_httpx(source, f"{api.address}/orders")

    assert status() == 200
    kept = json.loads(path.read_text())
    path.write_text(json.dumps(kept | {"key": kept["key"] | {"x": "AAAA"}}))
    assert status() == 200
    assert json.loads(path.read_text())["access_token"] != kept["access_token"]
