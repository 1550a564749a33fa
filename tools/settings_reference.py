"""Write docs/reference/settings.md from the settings themselves, so that the page cannot differ from the code."""

import sys
from pathlib import Path

from watchword.settings import Settings

PAGE = Path(__file__).resolve().parent.parent / "docs" / "reference" / "settings.md"
HEAD = """# Settings

An option comes from the command line, else from a `WATCHWORD_` variable (`WATCHWORD_ACCESS_TOKEN_LIFETIME`), else from
`watchword.toml`. Durations are in seconds. An unknown option stops the start. This page is generated.

| Option | Default |
|---|---|
"""


def text() -> str:
    """Return the page."""
    defaults = Settings()
    rows = [f"| `{name}` | `{getattr(defaults, name)!r}` |" for name in Settings.__struct_fields__]
    return HEAD + "\n".join(rows) + "\n"


if __name__ == "__main__":
    if "--check" in sys.argv:
        sys.exit(PAGE.read_text("utf-8") != text())
    PAGE.write_text(text(), "utf-8")
