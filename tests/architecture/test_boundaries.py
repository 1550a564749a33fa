"""Who may know whom, where an import contract cannot say it: parts that stand beside the layers, and clocks in pure code."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[2] / "src" / "watchword"

# The parts that stand beside the layers, and all that each may import of ours; nothing more, however new.
MAY_IMPORT = {
    "guard": {"guard", "jose", "oauth", "fetch", "extras", "http_clients", "networks"},
    "client": {"client", "jose", "oauth", "fetch", "durable_files", "extras", "http_clients", "networks"},
    "zero": {"zero", "jose", "credentials", "durable_files"},
    "http_server": {"http_server"},
    "telemetry": {"telemetry"},
}
# Who may import the guard: what is tested with it, and the protected API of the demonstration.
MAY_IMPORT_GUARD = {"guard", "testing", "demo"}
PURE = ("jose", "oauth", "credentials")
CLOCKS = {"now", "utcnow", "today", "time", "time_ns", "monotonic", "perf_counter"}
RANDOMNESS = {"urandom", "uuid1", "uuid4", "token_bytes", "token_hex", "token_urlsafe", "randbelow"}

STATEMENT = re.compile(r"(SELECT|INSERT INTO|UPDATE|DELETE FROM|CREATE TABLE|ALTER TABLE|DROP TABLE|PRAGMA) ")


def part(path: Path) -> str:
    """Return the module or package below `watchword` that a file belongs to."""
    first = path.relative_to(SOURCE).parts[0]
    return first.removesuffix(".py")


def files(name: str) -> list[Path]:
    """Return the files of a module or package below `watchword`."""
    return [path for path in sorted(SOURCE.rglob("*.py")) if part(path) == name]


def imported(path: Path) -> Iterator[str]:
    """Return the parts of ours that a file imports, wherever in the file it does so."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            names = [f"{node.module}.{name}" for name in names]
        for name in names:
            package, *below = name.split(".")
            if package == "watchword" and below and not below[0].startswith("__"):
                yield below[0]


@pytest.mark.parametrize("name", MAY_IMPORT)
def test_a_part_beside_the_layers_knows_only_what_it_may(name: str) -> None:
    assert files(name)
    known = {found for path in files(name) for found in imported(path)}
    assert known <= MAY_IMPORT[name]


def test_nobody_imports_the_guard_but_what_shows_or_tests_it() -> None:
    named = [path for path in SOURCE.rglob("*.py") if "guard" in path.read_text("utf-8")]
    importers = {part(path) for path in named if "guard" in imported(path)}
    assert importers <= MAY_IMPORT_GUARD


@pytest.mark.parametrize("name", PURE)
def test_pure_code_reads_no_clock_and_draws_no_randomness(name: str) -> None:
    calls = [
        f"{path.relative_to(SOURCE)}:{node.lineno} {node.func.attr}()"
        for path in files(name)
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in CLOCKS | RANDOMNESS
    ]
    assert not calls


def test_only_the_store_speaks_sql() -> None:
    def statements(path: Path) -> list[str]:
        text = path.read_text("utf-8")
        nodes = ast.walk(ast.parse(text)) if STATEMENT.search(text) else ()
        texts = [
            node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)
        ]
        return [f"{path.relative_to(SOURCE)}: {text}" for text in texts if STATEMENT.match(text)]

    found = {path: statements(path) for path in sorted(SOURCE.rglob("*.py"))}
    assert any(found[path] for path in files("store"))
    assert not [text for path, texts in found.items() if part(path) != "store" for text in texts]
