"""What the documents promise must exist: the specification map and the attack map name real tests."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = re.compile(r"`(tests/[A-Za-z0-9_./-]+\.py)(?:::([A-Za-z0-9_]+))?`")
MAPS = ("docs/specs.md", "docs/attacks.md")


def references() -> list[tuple[str, str, str | None]]:
    """Return every test that a map names."""
    found = []
    for document in MAPS:
        text = (ROOT / document).read_text("utf-8")
        found += [(document, path, function or None) for path, function in REFERENCE.findall(text)]
    return found


@pytest.mark.parametrize("document", MAPS)
def test_a_map_names_tests(document: str) -> None:
    assert any(found == document for found, _, _ in references())


def test_a_test_that_a_map_names_exists() -> None:
    texts = {path: (ROOT / path).read_text("utf-8") for _, path, _ in references() if (ROOT / path).is_file()}
    assert not [
        (document, path, function)
        for document, path, function in references()
        if path not in texts
        or (function and not re.search(rf"^(async )?def {function}\b", texts[path], re.MULTILINE))
    ]


def rows(document: str) -> list[list[str]]:
    """Return the rows of every table of a document without their heads."""
    lines = [line for line in (ROOT / document).read_text("utf-8").splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    rules = {index for index, row in enumerate(cells) if set("".join(row)) <= set("-: ")}
    return [row for index, row in enumerate(cells) if index not in rules and index + 1 not in rules]


def test_a_specification_is_proven_by_a_test_or_said_to_be_untested() -> None:
    for name, done, proof, missing in rows("docs/specs.md"):
        assert done, name
        assert REFERENCE.search(proof) or "not tested" in missing, name


def test_an_attack_has_a_test_or_a_reason_or_says_that_it_has_neither() -> None:
    for row in rows("docs/attacks.md"):
        answer = row[-1]
        assert all(row), row
        assert REFERENCE.search(answer) or answer == "not shown" or len(answer.split()) > 3, row


def test_an_attack_is_named_by_a_test_that_its_row_names() -> None:
    paths = {path for _, path, _ in references()}
    texts = {path: (ROOT / path).read_text("utf-8") for path in paths}
    for row in rows("docs/attacks.md"):
        files = {path for path, _ in REFERENCE.findall(row[-1])}
        if files and re.fullmatch(r"[A-Z]+-\d+", row[0]):
            names = (row[0], row[0].lower().replace("-", "_"))
            assert any(name in texts[path] for path in files for name in names), row


def test_an_attack_has_one_row() -> None:
    named = [row[0] for row in rows("docs/attacks.md")]
    assert len(named) == len(set(named)) > 200


def test_no_document_names_this_machine_or_a_registry() -> None:
    forbidden = re.compile(
        r"(?<![\w./-])/(home|root|Users)/\w|py" + r"pi\.org|python" + r"hosted|registry\." + "npmjs"
    )
    files = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "src").rglob("*.py")]
    named = [str(file.relative_to(ROOT)) for file in files if forbidden.search(file.read_text("utf-8"))]
    assert not named
