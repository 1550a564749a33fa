"""The command line: `watchword …`, one thin function per command, the same flows as the HTTP API.

Exit codes: 0 done, 1 refused or not found, 2 wrong usage, and 3 of `apply --check` for a difference. With `--json` every
command prints one JSON document, whatever comes of it.
"""

import sys

from watchword.extras import SERVER, NotInstalled, needing


def main() -> None:
    """Run the command line; where something of it is not installed, say what to install and leave with 2."""
    try:
        with needing(f"{SERVER} (in a clone of the repository: pip install '.[server]')"):
            _run()
    except NotInstalled as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(2)


def _run() -> None:
    # `serve` runs without the modules that only the other commands need.
    from watchword.cli import launch

    options = launch.read(sys.argv[2:]) if sys.argv[1:2] == ["serve"] else None
    if options is not None:
        sys.exit(launch.serve(options))
    from watchword.cli import session
    from watchword.cli.application import app

    try:
        app()
    except SystemExit as left:
        if left.code == 2 and "--json" in sys.argv[1:]:
            reason = getattr(left, "message", "Standard error says what is wrong with the call.")
            if reason is not None:
                session.print_json({"error": "wrong_usage", "error_description": reason})
        raise
