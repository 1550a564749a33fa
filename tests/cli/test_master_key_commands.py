"""KR-04 as an operator sees it: the master key is exchanged by a command while a server serves, and no key is ever shown."""

import json
import re
from pathlib import Path

import httpx
from tests.fixtures.commands import run_cli
from tests.fixtures.postgres import Store
from tests.fixtures.servers import free_port, serve


def status(issuer: str, token: str) -> int:
    headers = {"authorization": f"Bearer {token}"}
    return httpx.get(f"{issuer}/api/v1/tokens/self", headers=headers).status_code


def test_kr_04_the_master_key_is_exchanged_while_a_server_serves(tmp_path: Path) -> None:
    made = run_cli(tmp_path, "token", "create", "ci", "--owner", "builds", "--scope", "orders:read", "--json")
    token = json.loads(made.stdout)["token"]
    file = tmp_path / "watchword.db.key"
    before = file.read_text()
    with serve(tmp_path) as running:
        assert status(running.issuer, token) == 200
        told = run_cli(tmp_path, "key", "rotate-master")
        assert told.returncode == 0, told.stderr
        former = next(tmp_path.glob("watchword.db.key.old-*"))
        assert former.read_text() == before != file.read_text()
        assert f"former key: {former.name}" in told.stdout
        assert status(running.issuer, token) == 200, "who runs holds what everything hangs on"
        issued = run_cli(
            tmp_path, "token", "create", "new", "--owner", "builds", "--scope", "orders:read", "--json"
        )
        later = json.loads(issued.stdout)["token"]
        assert status(running.issuer, later) == 200
        with serve(tmp_path) as another:
            assert [status(another.issuer, one) for one in (token, later)] == [200, 200]
        log = running.log.read_text() + another.log.read_text()
    refused = run_cli(
        tmp_path, "serve", "--port", str(free_port()), variables={"WATCHWORD_KEY_FILE": str(former)}
    )
    assert refused.returncode == 2
    assert "the master key does not belong to this database" in refused.stderr
    written = told.stdout + told.stderr + log + refused.stdout + refused.stderr
    assert not re.search(r"[0-9a-f]{64}", written), "a key is shown nowhere"
    assert json.loads(run_cli(tmp_path, "audit", "--verify", "--json").stdout)["sound"] is True


def test_kr_04_two_nodes_with_a_key_from_outside_go_on_over_an_exchange(store: Store, tmp_path: Path) -> None:
    place = {"WATCHWORD_DATABASE": store.address}
    old, new = place | {"WATCHWORD_MASTER_KEY": "ab" * 32}, place | {"WATCHWORD_MASTER_KEY": "cd" * 32}
    both = place | {"WATCHWORD_MASTER_KEY": "ab" * 32 + "\n" + "cd" * 32 + "\n"}
    made = run_cli(
        *(tmp_path, "token", "create", "ci", "--owner", "o", "--scope", "orders:read", "--json"),
        variables=old,
    )
    token = json.loads(made.stdout)["token"]
    alone = run_cli(tmp_path, "key", "rotate-master", variables=old)
    assert alone.returncode == 2
    assert "add a new key after the present one" in alone.stderr
    warned = json.loads(run_cli(tmp_path, "doctor", "--json", variables=both).stdout)
    assert "master-keys" in [finding["code"] for finding in warned["findings"]]
    with serve(tmp_path, variables=old) as late, serve(tmp_path, variables=both) as ready:
        told = run_cli(tmp_path, "key", "rotate-master", "--json", variables=both)
        with serve(tmp_path, variables=new) as fresh:
            nodes = (late, ready, fresh)
            assert [status(node.issuer, token) for node in nodes] == [200, 200, 200]
            assert run_cli(tmp_path, "token", "list", variables=new).returncode == 0
    rotated = json.loads(told.stdout)
    assert rotated["key_file"] is None
    assert rotated["former"] != rotated["master_key"]
    for given, code in ((both, 0), (new, 0), (old, 2)):
        assert run_cli(tmp_path, "key", "list", variables=given).returncode == code
    assert not list(tmp_path.glob("*key*"))
