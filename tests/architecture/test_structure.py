"""What holds for every file: import contracts, sizes, names, reasons beside every exception."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "watchword"
MODULES = sorted(SOURCE.rglob("*.py"))
FOLDERS = ("src", "tests", "bench", "tools", "examples")
INSTALLED = {".venv", "node_modules"}
PROGRAMS = [
    path
    for folder in FOLDERS
    for path in (ROOT / folder).rglob("*.py")
    if not INSTALLED & set(path.relative_to(ROOT).parts)
]
MAX_MODULE_LINES = 400
MAX_FUNCTION_LINES = 60
# Commands whose signature is their documentation: every option is a parameter with its help.
LONG_FUNCTIONS = {"cli/clients.py:create", "cli/clients.py:update", "cli/tokens.py:create"}
FORBIDDEN_NAMES = {"utils", "helpers", "common", "base", "manager", "misc"}


def name(path: Path) -> str:
    """Return a module's path within the package."""
    return path.relative_to(SOURCE).as_posix()


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Return every function of a module."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def test_the_import_contracts_are_kept() -> None:
    done = subprocess.run(
        [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_a_file_is_at_most_400_lines() -> None:
    lengths = {
        path.relative_to(ROOT).as_posix(): len(path.read_text("utf-8").splitlines()) for path in PROGRAMS
    }
    assert not {path: length for path, length in lengths.items() if length > MAX_MODULE_LINES}


def test_a_function_is_at_most_60_lines() -> None:
    long = {
        f"{name(path)}:{function.name}"
        for path in MODULES
        for function in functions(path)
        if (function.end_lineno or 0) - function.lineno >= MAX_FUNCTION_LINES
    }
    assert not long - LONG_FUNCTIONS


def test_a_module_says_what_it_owns() -> None:
    assert not [name(path) for path in MODULES if path.stem in FORBIDDEN_NAMES]
    assert not [name(path) for path in MODULES if not ast.get_docstring(ast.parse(path.read_text("utf-8")))]


def test_the_guard_pulls_in_nothing_of_the_server() -> None:
    program = (
        "import sys, watchword.guard; print(' '.join(sorted({m.partition('.')[0] for m in sys.modules})))"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout.split()
    assert "msgspec" in loaded
    heavy = {
        "starlette",
        "fastapi",
        "uvicorn",
        "typer",
        "argon2",
        "asyncpg",
        "sqlite3",
        "structlog",
        "jinja2",
    }
    assert not heavy & set(loaded)


@pytest.mark.parametrize("lock", sorted((ROOT / "requirements").glob("*.txt")), ids=lambda path: path.name)
def test_a_lock_file_pins_hashes_and_names_no_registry(lock: Path) -> None:
    text = lock.read_text("utf-8")
    requirements = re.findall(r"^[a-z0-9][^\s=]*==\S+.*$", text, re.MULTILINE | re.IGNORECASE)
    assert requirements
    assert text.count("--hash=sha256:") >= len(requirements)
    assert "://" not in text
    assert not re.search(r"^\s*--(index-url|extra-index-url|find-links)", text, re.MULTILINE)


def test_every_exception_from_a_rule_has_its_reason_beside_it() -> None:
    bare = []
    tests = [path for path in PROGRAMS if path.is_relative_to(ROOT / "tests")]
    for path in [*MODULES, *tests]:
        if path == Path(__file__):
            continue
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
            if re.search(r"#\s*(type: ignore|noqa)", line) and not re.search(r"(\]|[A-Z]\d+)\s+\S", line):
                bare.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:80]}")
    assert not bare, "\n".join(bare)


def test_every_mail_that_has_a_template_is_sent_somewhere() -> None:
    source = "".join(path.read_text("utf-8") for path in MODULES)
    mails = {path.stem for path in (SOURCE / "pages" / "templates" / "mail").glob("*.txt")}
    assert len(mails) > 10
    assert {mail for mail in mails if f'"{mail}"' not in source} == set()
