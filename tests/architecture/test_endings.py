"""What takes something away is known as such, so that it is acknowledged only when the other nodes were told of it (MN-01)."""

import ast
import inspect
from collections import defaultdict
from pathlib import Path

from watchword.store import conditions, holders, quiet
from watchword.store.ended import ENDS
from watchword.store.quiet import ENDING

SOURCE = Path(__file__).parents[2] / "src" / "watchword"
STORE = SOURCE / "store"
Name = tuple[str, str]  # of a module of the store, and of a function in it
# Whose caller does not say of anything that it is over.
OTHERS: dict[Name, str] = {
    ("document_clients", "keep_reading"): "a document that says something new ends nothing by that",
    ("new_accounts", "create_owner"): "takes back an account that it has just made",
    ("new_accounts", "create_by_link"): "as above",
    ("new_accounts", "create_with"): "as above",
    ("new_accounts", "create_imported"): "switches off an account that it has just made",
    ("registrations", "purge_unused_clients"): "housekeeping",
    ("sessions", "create_session"): "the oldest of a hundred sessions makes room",
    ("sessions", "end_expired"): "housekeeping",
}


def functions() -> dict[Name, ast.AsyncFunctionDef]:
    """Return the functions of the store."""
    return {
        (path.stem, node.name): node
        for path in sorted(STORE.rglob("*.py"))
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.AsyncFunctionDef)
    }


def called(function: ast.AsyncFunctionDef) -> set[str]:
    """Return the names of what a function calls, from whatever module."""
    calls = [node.func for node in ast.walk(function) if isinstance(node, ast.Call)]
    return {call.id if isinstance(call, ast.Name) else getattr(call, "attr", "") for call in calls}


def says(function: ast.AsyncFunctionDef) -> bool:
    """Whether a function names an audit event that ends what it is about."""
    return any(isinstance(node, ast.Constant) and node.value in ENDS for node in ast.walk(function))


def endings() -> set[Name]:
    """Return the functions that end something, by themselves or by what they call."""
    every = functions()
    found = {name for name, function in every.items() if says(function)}
    calls = {name: called(function) for name, function in every.items()}
    while True:
        names = {name for _, name in found}
        more = {name for name, those in calls.items() if those & names} - found
        if not more:
            return found
        found |= more


def used() -> set[Name]:
    """Return the functions of the store that anything outside of it names."""
    found: set[Name] = set()
    for path in SOURCE.rglob("*.py"):
        if STORE in path.parents:
            continue
        text = path.read_text()
        if "from watchword.store" not in text:
            continue
        tree, modules = ast.parse(text), defaultdict[str, str](str)
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("watchword.store"):
                modules |= {one.asname or one.name: one.name for one in node.names}
        found |= {
            (modules[node.value.id], node.attr)
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
        }
    return found


def test_an_operation_that_ends_something_is_acknowledged_when_the_others_know() -> None:
    known = {(one.__module__.rpartition(".")[2], one.__name__) for one in ENDING}
    ends = endings()
    assert {("tokens", "revoke_jti"), ("trust", "replace_rule"), ("sessions", "end_session")} <= ends
    assert ends & used() - known - set(OTHERS) == set()
    assert set(OTHERS) <= ends, "what is named here ends something"


def test_an_ending_is_known_within_every_operation_that_runs_another_one() -> None:
    places = {
        function: list(inspect.signature(function).parameters).index("operation")
        for module in (conditions, holders)
        for _, function in inspect.getmembers(module, inspect.iscoroutinefunction)
        if "operation" in inspect.signature(function).parameters
    }
    assert conditions.in_session in places
    ending = next(iter(ENDING))
    known = {
        function
        for function, place in places.items()
        if quiet.ends(function, [None] * (place - 1) + [ending])
    }
    assert known == set(places)
