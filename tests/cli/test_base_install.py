"""The base install, which is what a guard needs: everything else says what to install instead of failing somewhere inside.

A finder in front of all others refuses what the base install does not bring, as Python does where it is not there.
"""

import importlib.metadata
import json
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from tests.fixtures.commands import environment
from tests.fixtures.servers import free_port

BLOCKING = """
import importlib.abc, runpy, sys
class Missing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] in BLOCKED:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Missing())
"""
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
    "fastmcp": ("fastmcp", "fastmcp"),
    "flask": ("flask", "flask"),
    "grpc": ("grpc", "grpcio"),
    "litestar": ("litestar", "litestar"),
    "mcp_sdk": ("mcp", "mcp"),
    "ninja": ("ninja", "django-ninja"),
    "starlette": ("starlette", "starlette"),
}


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


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--help"],
        ["serve"],
        ["serve", "--issuer", "http://localhost:8000"],
        ["token", "list", "--json"],
        ["dev"],
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("present", [set(), {"typer", "uvicorn", "starlette"}], ids=["nothing", "some"])
def test_a_command_without_the_server_says_what_to_install(
    tmp_path: Path, arguments: list[str], present: set[str]
) -> None:
    server = extra("server") - present
    done = run(tmp_path, server, "runpy.run_module('watchword', run_name='__main__')", *arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    said = json.loads(done.stdout)["error_description"] if "--json" in arguments else done.stdout
    assert said == (done.stderr.removeprefix("error: ").rstrip() if "--json" in arguments else "")
    assert "pip install 'watchword[server]'" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir()), "nothing was begun"


@pytest.mark.parametrize(
    "arguments",
    [
        ["serve", "--database", "postgresql://nobody@127.0.0.1:1/none"],
        ["migrate", "--database", "postgresql://nobody@127.0.0.1:1/none"],
        ["audit", "--database", "postgresql://nobody@127.0.0.1:1/none", "--json"],
        ["move", "sqlite:///a.db", "postgresql://nobody@127.0.0.1:1/none"],
    ],
    ids=" ".join,
)
def test_postgresql_without_its_driver_says_what_to_install(tmp_path: Path, arguments: list[str]) -> None:
    main = "runpy.run_module('watchword', run_name='__main__')"
    run(tmp_path, set(), main, "migrate", "--database", "a.db")
    port = ["--port", str(free_port())] if arguments[0] == "serve" else []
    done = run(tmp_path, extra("postgres"), main, *arguments, *port)
    said = "asyncpg is not installed: pip install 'watchword[postgres]'"
    assert (done.returncode, done.stderr) == (2, f"error: {said}\n")
    document = {"error": "not_installed", "error_description": said}
    assert done.stdout == (json.dumps(document, indent=2) + "\n" if "--json" in arguments else "")


@pytest.mark.parametrize("adapter", FRAMEWORKS)
def test_a_guard_without_its_framework_says_what_to_install(tmp_path: Path, adapter: str) -> None:
    missing, install = FRAMEWORKS[adapter]
    done = run(tmp_path, {missing}, f"import watchword.guard.{adapter}")
    assert done.stderr.endswith(f"NotInstalled: {missing} is not installed: pip install {install}\n")
    assert "During handling" not in done.stderr
    assert f"No module named {missing!r}" not in done.stderr


def test_a_guard_without_what_its_framework_brings_says_the_same(tmp_path: Path) -> None:
    done = run(tmp_path, {"django", "asgiref"}, "import watchword.guard.django")
    assert done.stderr.endswith("NotInstalled: asgiref is not installed: pip install django\n")


@pytest.mark.parametrize("name", ["requests_auth", "keyring_store"])
def test_a_part_of_the_client_without_its_package_says_what_to_install(tmp_path: Path, name: str) -> None:
    missing = name.partition("_")[0]
    done = run(tmp_path, {missing}, f"import watchword.client.{name}")
    assert done.stderr.endswith(f"NotInstalled: {missing} is not installed: pip install {missing}\n")


def test_the_testing_kit_without_the_server_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text("def test_it(auth): ...\n")
    done = run(tmp_path, extra("server"), "import pytest; sys.exit(pytest.main(['-q', 'test_it.py']))")
    assert "is not installed: pip install 'watchword[server]'" in done.stdout


def test_the_guard_and_the_client_need_nothing_but_the_base_install(tmp_path: Path) -> None:
    names = ["guard", "guard.asgi", "guard.wsgi", "guard.mcp", "client", "client.sign_in", "client.doctor"]
    program = f"import importlib, json; [importlib.import_module('watchword.' + one) for one in {names}]; print(json.dumps(1))"
    done = run(tmp_path, extra("server") | extra("postgres"), program)
    assert json.loads(done.stdout or "0") == 1, done.stderr
