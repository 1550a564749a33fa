"""The base install, which is what a guard needs: everything else says what to install instead of failing somewhere inside.

A finder in front of all others refuses what the base install does not bring, as Python does where it is not there.
"""

import importlib.metadata
import json
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import NamedTuple

import pytest
from packaging.requirements import Requirement
from tests.fixtures.commands import environment, run_cli
from tests.fixtures.servers import free_port

BLOCKING = """
import importlib, importlib.abc, json, os, runpy, sys, tempfile
class Missing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] in BLOCKED:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Missing())
"""
# One after the other, each in a child that has nothing but what was imported before
EACH = """
FIRST, CASES = json.loads(sys.argv[1])
for name in FIRST:
    importlib.import_module(name)
ended = []
for blocked, program, arguments in CASES:
    out, err = (tempfile.TemporaryFile("w+") for _ in range(2))
    child = os.fork()
    if not child:
        BLOCKED |= set(blocked)
        os.dup2(out.fileno(), 1)
        os.dup2(err.fileno(), 2)
        sys.argv[1:] = arguments
        exec(program)
        sys.exit()
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    ended.append((code, *(stream.seek(0) or stream.read() for stream in (out, err))))
print(json.dumps(ended))
"""
MAIN = "runpy.run_module('watchword', run_name='__main__')"
BROUGHT_BY_HTTPX = {"idna"}
MODULES = {
    "argon2-cffi": "argon2",
    "opentelemetry-api": "opentelemetry",
    "prometheus-client": "prometheus_client",
    "pynacl": "nacl",
}
FRAMEWORKS = {
    "aiohttp": ("aiohttp", "aiohttp"),
    "django": ("django", "django"),
    "drf": ("rest_framework", "djangorestframework"),
    "falcon": ("falcon", "falcon"),
    "fastapi": ("fastapi", "fastapi"),
    "fastmcp": ("fastmcp", "'fastmcp>=4'"),
    "flask": ("flask", "flask"),
    "grpc": ("grpc", "grpcio"),
    "litestar": ("litestar", "litestar"),
    "mcp_sdk": ("mcp", "mcp"),
    "ninja": ("ninja", "django-ninja"),
    "starlette": ("starlette", "starlette"),
}


ROOT = Path(__file__).resolve().parents[2]


def extra(name: str) -> set[str]:
    """Return the top-level modules that an extra of the package installs."""
    found = [Requirement(one) for one in importlib.metadata.requires("watchword") or []]
    return {
        MODULES.get(one.name, one.name) for one in found if f'extra == "{name}"' in str(one.marker)
    } - BROUGHT_BY_HTTPX


def run(folder: Path, blocked: set[str], program: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run a program in a fresh interpreter that finds none of the modules."""
    code = f"BLOCKED = {blocked!r}\n{BLOCKING}\n{program}"
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True, check=False)


class Ended(NamedTuple):
    code: int
    out: str
    err: str


def run_each(
    folder: Path, blocked: set[str], first: list[str], cases: list[tuple[set[str], str, list[str]]]
) -> list[Ended]:
    """Run programs, each with more modules that it does not find and its arguments, in children of an interpreter that imported the first."""
    given = json.dumps([first, [(sorted(more), program, arguments) for more, program, arguments in cases]])
    done = run(folder, blocked, EACH, given)
    assert done.returncode == 0, done.stderr
    return [Ended(*one) for one in json.loads(done.stdout)]


@pytest.mark.parametrize("present", [set(), {"typer", "uvicorn", "starlette"}], ids=["nothing", "some"])
def test_a_command_without_the_server_says_what_to_install(tmp_path: Path, present: set[str]) -> None:
    lines = (
        "",
        "--help",
        "serve",
        "serve --issuer http://localhost:8000",
        "token list --json",
        "dev",
    )
    ended = run_each(tmp_path, extra("server") - present, [], [(set(), MAIN, line.split()) for line in lines])
    for line, done in zip(lines, ended, strict=True):
        assert (done.code, done.err.count("\n")) == (2, 1), (line, done)
        assert done.err.startswith("error: ")
        assert "pip install 'watchword[server]'" in done.err
        said = json.loads(done.out)["error_description"] if "--json" in line else done.out
        assert said == (done.err.removeprefix("error: ").rstrip() if "--json" in line else "")
    assert not list(tmp_path.iterdir()), "nothing was begun"


def test_postgresql_without_its_driver_says_what_to_install(tmp_path: Path) -> None:
    run_cli(tmp_path, "migrate", "--database", "a.db")
    address = "postgresql://nobody@127.0.0.1:1/none"
    lines = (
        f"serve --port {free_port()} --database {address}",
        f"migrate --database {address}",
        f"audit --json --database {address}",
        f"move sqlite:///a.db {address}",
    )
    cases = [(set[str](), MAIN, line.split()) for line in lines]
    said = "asyncpg is not installed: pip install 'watchword[postgres]'"
    document = json.dumps({"error": "not_installed", "error_description": said}, indent=2) + "\n"
    for line, done in zip(
        lines, run_each(tmp_path, extra("postgres"), ["watchword.cli.application"], cases), strict=True
    ):
        assert done == (2, document if "--json" in line else "", f"error: {said}\n"), line


def test_a_part_without_its_package_says_what_to_install(tmp_path: Path) -> None:
    """The guard for a framework without it or what it brings, a part of the client without what it is for."""
    parts = [
        (f"guard.{adapter}", {missing}, missing, install)
        for adapter, (missing, install) in FRAMEWORKS.items()
    ]
    parts.append(("guard.django", {"django", "asgiref"}, "asgiref", "django"))
    parts += [
        (f"client.{name}_{what}", {name}, name, name)
        for name, what in (("requests", "auth"), ("keyring", "store"))
    ]
    cases = [(missing, f"import watchword.{part}", list[str]()) for part, missing, *_ in parts]
    ended = run_each(tmp_path, set(), ["watchword.guard", "watchword.client"], cases)
    for (part, _, missing, install), done in zip(parts, ended, strict=True):
        assert done.err.endswith(f"NotInstalled: {missing} is not installed: pip install {install}\n"), (
            part,
            done,
        )
        assert "During handling" not in done.err
        assert f"No module named {missing!r}" not in done.err


def test_an_earlier_release_of_a_framework_says_which_to_install(tmp_path: Path) -> None:
    (tmp_path / "fastmcp/server").mkdir(parents=True)
    for name in ("__init__.py", "server/__init__.py", "server/auth.py"):
        (tmp_path / "fastmcp" / name).write_text(
            "AccessToken = RemoteAuthProvider = TokenVerifier = object\n"
        )
    done = run(tmp_path, set(), "import watchword.guard.fastmcp")
    said = "NotInstalled: this release of fastmcp lacks what is needed: pip install 'fastmcp>=4'\n"
    assert done.stderr.endswith(said), done.stderr
    assert "cannot import name 'TokenVerificationError'" in done.stderr


def test_the_testing_kit_without_the_server_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text("def test_it(auth): ...\n")
    only = "['-q', '--disable-plugin-autoload', '-p', 'watchword.testing', 'test_it.py']"  # the others take seconds to be read in
    done = run(tmp_path, extra("server"), f"import pytest; sys.exit(pytest.main({only}))")
    assert "is not installed: pip install 'watchword[server]'" in done.stdout


def test_the_guard_and_the_client_need_nothing_but_the_base_install(tmp_path: Path) -> None:
    names = ["guard", "guard.asgi", "guard.wsgi", "guard.mcp", "client", "client.sign_in", "client.doctor"]
    program = f"import importlib, json; [importlib.import_module('watchword.' + one) for one in {names}]; print(json.dumps(1))"
    done = run(tmp_path, extra("server") | extra("postgres"), program)
    assert json.loads(done.stdout or "0") == 1, done.stderr


@pytest.mark.parametrize(
    ("package", "good", "bad"),
    [
        # Whoever allows pre-releases would be given it: it has neither `Limits` nor `HTTPError`.
        ("httpx", "0.28.1", "1.0.dev6"),
        # A failed TLS handshake is no `ConnectError` there, so the next address of a name is not tried.
        ("httpcore", "1.0.9", "1.0.5"),
    ],
)
def test_releases_that_it_does_not_work_with_are_not_installed(package: str, good: str, bad: str) -> None:
    named = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["dependencies"]
    allowed = {one.name: one.specifier for one in map(Requirement, named)}[package]
    assert allowed.contains(good)
    assert not allowed.contains(bad, prereleases=True)
