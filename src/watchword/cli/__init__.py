"""The command line: `watchword …`, one thin function per command, the same flows as the HTTP API.

Exit codes: 0 done, 1 refused or not found, 2 wrong usage. With `--json` every command prints one JSON document.
"""

import sys


def main() -> None:
    """Run the command line; `serve` without the modules that only the other commands need."""
    from watchword.cli import launch

    options = launch.read(sys.argv[2:]) if sys.argv[1:2] == ["serve"] else None
    if options is not None:
        sys.exit(launch.serve(options))
    from watchword.cli.application import app

    app()
