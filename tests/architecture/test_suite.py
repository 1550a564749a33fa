"""The tests themselves: nothing is skipped silently, and what CI requires is there to be run."""

import ast
import re
from pathlib import Path

import pytest
from tests.fixtures import loops
from tests.fixtures.rows import in_turn
from tests.fixtures.system import HOW

ROOT = Path(__file__).resolve().parents[2]
TESTS = [
    path
    for path in sorted((ROOT / "tests").rglob("*.py"))
    if path != Path(__file__) and "node_modules" not in path.parts
]
MARKS = {"skip", "skipif", "xfail"}


def called(path: Path) -> list[tuple[str, ast.Call]]:
    """Return every call in a file with the dotted name of what is called."""
    nodes = ast.walk(ast.parse(path.read_text("utf-8")))
    return [(ast.unparse(node.func), node) for node in nodes if isinstance(node, ast.Call)]


def test_what_is_skipped_says_why_and_no_file_is_skipped_as_a_whole() -> None:
    wrong = {path.relative_to(ROOT).as_posix(): flaws for path in TESTS if (flaws := skips(path))}
    assert not wrong


def skips(path: Path) -> list[str]:
    """Return the skips of a file that give no reason, or are for the whole of it."""
    source = path.read_text("utf-8")
    if not re.search("skip|xfail", source):
        return []
    calls = called(path)
    found = [
        f"line {node.lineno}"
        for name, node in calls
        if (name in ("pytest.skip", "pytest.xfail") and not node.args and not node.keywords)
        or (
            name.removeprefix("pytest.mark.") in MARKS
            and name.startswith("pytest.mark.")
            and not any(keyword.arg == "reason" for keyword in node.keywords)
        )
    ]
    found += [match[0] for match in re.finditer(r"pytest\.mark\.(skip|xfail)\b(?!\()", source)]
    # Such a skip happens while tests are collected, where WATCHWORD_REQUIRE cannot turn it into a failure.
    found += [name for name, _ in calls if name == "pytest.importorskip"]
    return [*found, *(["allow_module_level"] if "allow_module_" + "level" in source else [])]


def test_ci_runs_what_a_newcomer_runs_and_requires_the_system_packages() -> None:
    text = (ROOT / ".ci" / "run").read_text("utf-8")
    assert re.search(r"^exec make test$", text, re.MULTILINE)
    required = re.search(r"^export WATCHWORD_REQUIRE=(\S+)$", text, re.MULTILINE)
    assert required
    assert set(required[1].split(",")) == set(HOW)
    installs = (ROOT / "tools" / "system_packages.sh").read_text("utf-8")
    for package in ("postgresql", "chromium", "nodejs npm", "apache2-bin", "libfaketime", "pgbouncer"):
        assert f"missing {package}" in installs, "what is required is installed by make test"


@pytest.mark.parametrize("mark", sorted(HOW))
def test_there_are_tests_for_what_ci_requires(mark: str) -> None:
    assert any(f"pytest.mark.{mark}" in path.read_text("utf-8") for path in TESTS)


SUITE = """
import pytest

@pytest.mark.apache
def test_apache():
    {body}

def test_other():
    pass
"""


@pytest.mark.parametrize(
    ("body", "options", "code", "says"),
    [
        ("pass", [], 0, ""),
        ("pytest.skip('away')", [], 1, "apache is required"),
        ("pass", ["-k", "other"], 1, "no test was run that needs apache"),
        ("pass", ["-n", "1"], 0, ""),
        ("pass", ["-n", "1", "-k", "other"], 1, "no test was run that needs apache"),
        ("pass", ["-k", "nothing"], 5, ""),
    ],
)
def test_a_run_is_green_only_when_what_is_required_was_run(
    pytester: pytest.Pytester,
    monkeypatch: pytest.MonkeyPatch,
    body: str,
    options: list[str],
    code: int,
    says: str,
) -> None:
    monkeypatch.setenv("WATCHWORD_REQUIRE", "apache")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    # The other plugins that are installed take longer to load than this to run.
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    pytester.makeini("[pytest]\nmarkers = apache: x")
    pytester.makepyfile(SUITE.format(body=body))
    done = pytester.runpytest_subprocess("-p", "tests.fixtures.system", "-p", "xdist.plugin", *options)
    assert done.ret == code, done.stdout.str()
    assert says in done.stdout.str()


def test_flows_run_on_both_databases() -> None:
    flows = [path for path in TESTS if path.parent.name == "flows"]
    servers = [
        (path, node)
        for path in flows
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == "server"
    ]
    assert servers
    without = [path for path, node in servers if "store" not in {one.arg for one in node.args.args}]
    assert not without, "a server of flows is opened on a `store`"


def test_rows_in_turn_are_all_run_and_those_that_fail_are_named() -> None:
    ran: list[str] = []

    @in_turn("outer", ["a", "b"])
    @in_turn("inner", ["sound", "failing", "raising nothing", "last"])
    def rows(outer: str, inner: str) -> None:
        ran.append(outer + " " + inner)
        assert inner != "failing"
        with pytest.raises(ValueError, match="invalid literal"):
            int("1" if inner == "raising nothing" else inner)

    with pytest.raises(BaseExceptionGroup) as failed:
        rows()
    assert len(ran) == 8
    named = [
        (group.__notes__, [one.__notes__ for one in group.exceptions]) for group in failed.value.exceptions
    ]
    inside = [["in the row 'failing'"], ["in the row 'raising nothing'"]]
    assert named == [(["in the row 'a'"], inside), (["in the row 'b'"], inside)]


def test_a_row_of_a_loop_is_named_where_it_fails(pytestconfig: pytest.Config) -> None:
    def rows() -> None:
        for number, row in enumerate(("sound", "failing")):
            assert row != "failing", number

    with pytest.raises(AssertionError) as failed:
        rows()
    loops.note_rows(failed.value, Path(__file__))
    assert failed.value.__notes__ == ["in the row number = 1", "in the row row = 'failing'"]
    assert pytestconfig.pluginmanager.has_plugin("tests.fixtures.loops")
