"""The reference says what the code says: generated pages are fresh, every event is named, every link leads somewhere."""

import ast
import re
import subprocess
import sys
from pathlib import Path

from watchword import client, guard
from watchword.app.routes import OPERATIONS, ROUTES
from watchword.store import schema
from watchword.store.faults import POINTS

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
LINK = re.compile(r"\]\(([^)\s#]+)(?:#[^)]*)?\)")


def test_the_generated_pages_are_what_the_code_says() -> None:
    done = subprocess.run(
        [sys.executable, "tools/reference.py", "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_audit_event_is_in_the_reference() -> None:
    page = (ROOT / "docs" / "reference" / "events.md").read_text("utf-8")
    recorded = {name for path in (ROOT / "src" / "watchword").rglob("*.py") for name in events_of(path)}
    assert {"database.moved", "token.compromised", "refresh_token.reused", "code.redeemed"} <= recorded
    assert not {name for name in recorded if f"`{name}`" not in page}


def events_of(path: Path) -> set[str]:
    """Return the names of audit events in a file that records some, also those that it chooses between."""
    text = path.read_text("utf-8")
    if not re.search(r"\.record\(|AuditEntry\(|note_exposed", text):
        return set()
    tree = ast.parse(text)
    logged = {
        id(call.args[0])
        for call in ast.walk(tree)
        if isinstance(call, ast.Call) and call.args and ast.unparse(call.func).startswith("log.")
    }
    names = {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in logged
    }
    others = {
        *POINTS,
        *(f"{table.name}.{column}" for table in schema.tables(schema.newest()) for column in table.columns),
    }
    return {name for name in names - others if re.fullmatch(r"[a-z_]+\.[a-z_]+", name)}


def test_every_link_within_the_repository_leads_somewhere() -> None:
    targets = [
        (document, target)
        for document in DOCUMENTS
        for target in LINK.findall(text_of(document))
        if "://" not in target and not target.startswith("mailto:")
    ]
    assert len(targets) > 100
    assert not [link for link in targets if not (link[0].parent / link[1]).exists()]


def text_of(document: Path) -> str:
    """Return a document without what it shows as code."""
    return re.sub(r"```.*?```", "", document.read_text("utf-8"), flags=re.DOTALL)


def test_a_table_or_list_begins_after_an_empty_line() -> None:
    # Markdown as the documentation is built takes it for text of the paragraph above otherwise.
    for document in DOCUMENTS:
        text = text_of(document)
        assert not re.findall(r"^[^|\s].*\n\|.*$", text, re.MULTILINE), document
        assert not re.findall(r"^(?!- )\S.*\n- .*$", text, re.MULTILINE), document


def test_every_page_of_the_documentation_can_be_reached_by_its_navigation() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text("utf-8")
    pages = [path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")]
    assert not [page for page in pages if page not in navigation and not page.startswith("decisions/0")]


def test_what_applications_import_is_in_the_reference() -> None:
    pages = [path.read_text("utf-8") for path in (ROOT / "docs" / "reference").glob("*.md")]
    shown = {name for page in pages for name in re.findall(r"^::: watchword\.\S*?(\w+)$", page, re.MULTILINE)}
    lines = [
        line
        for document in DOCUMENTS
        for line in re.findall(
            r"^from watchword\.(?:guard|client)\S* import (.+)$", document.read_text("utf-8"), re.MULTILINE
        )
    ]
    imported = {name for line in lines for name in line.split(", ")}
    assert {"protected", "TokenSource"} <= imported
    assert not {*guard.__all__, *client.__all__, *imported} - shown


def test_every_address_that_the_server_answers_is_in_the_reference() -> None:
    page = (ROOT / "docs" / "reference" / "http.md").read_text("utf-8")
    missing = {path for path in ROUTES if f"`{path}`" not in page and not path.startswith("/api/v1/")}
    assert not {path for path in missing if not path.startswith(("/account/", "/console/"))}
    assert not {one.scope for one in OPERATIONS if one.scope and f"`{one.scope}`" not in page}


def test_every_finding_of_the_doctor_is_explained() -> None:
    page = (ROOT / "docs" / "how-to" / "doctor.md").read_text("utf-8")
    package = ROOT / "src" / "watchword"
    found = {
        call.args[0].value
        for path in [*(package / "client" / "doctor").glob("*.py"), package / "cli" / "doctor.py"]
        for call in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute)
        if call.func.attr in ("fail", "warn") and call.args and isinstance(call.args[0], ast.Constant)
    }
    assert len(found) > 20
    assert not {code for code in found if f"`{code}`" not in page}
