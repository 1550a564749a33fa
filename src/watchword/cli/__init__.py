"""The command line: `watchword …`, one thin function per command, the same flows as the HTTP API.

Exit codes: 0 done, 1 refused or not found, 2 wrong usage, 3 of `apply --check` for a difference, 130 interrupted. With
`--json` every command prints one JSON document, whatever comes of it.
"""

import contextlib
import errno
import io
import json
import os
import sys
from typing import TextIO, cast

from watchword.extras import SERVER, NotInstalled, needing

NOT_TAKEN = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}  # errors of a file that can take no more


def main() -> None:
    """Run the command line; exit with 2 and what to install where a part is missing, with 1 where standard output cannot be written."""
    _open_streams()
    try:
        with needing(f"{SERVER} (in a clone of the repository: pip install '.[server]')"):
            _run()
    except KeyboardInterrupt:  # while modules were being imported; later, each command handles it
        sys.exit(130)
    except BrokenPipeError:  # commands handle it themselves, as quietly as here
        sys.stdout = _nowhere("w")
        sys.exit(1)
    except OSError as error:
        if error.errno not in NOT_TAKEN or error.filename is not None:
            raise
        sys.stdout = _nowhere("w")  # otherwise its buffer is flushed, and fails, again at exit
        sys.stderr.write(f"error: standard output cannot be written: {error.strerror}\n")
        sys.exit(1)
    except NotInstalled as error:
        sys.stderr.write(f"error: {error}\n")
        if "--json" in sys.argv[1:]:  # with the standard library alone, since anything else may be missing
            document = {"error": "not_installed", "error_description": str(error)}
            sys.stdout.write(json.dumps(document, indent=2) + "\n")
        sys.exit(2)


def _open_streams() -> None:
    # Without them (`>&-`) the next file that is opened, a database, would get a standard stream's descriptor.
    sys.stdin = sys.stdin or _nowhere("r")
    sys.stdout = sys.stdout or _nowhere("w")
    sys.stderr = sys.stderr or _nowhere("w")
    # What Python opens is closed in the programs that it starts, such as workers, and standard streams are not.
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # a stream in the memory of a test
            os.set_inheritable(stream.fileno(), True)
    # A name may have characters that the terminal's encoding lacks, and a path undecodable bytes: print an escaped form.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _nowhere(mode: str) -> TextIO:
    return cast(TextIO, open(os.devnull, mode))


def _run() -> None:
    # `serve` runs without the modules that only the other commands need.
    from watchword.cli import launch

    options = launch.read(sys.argv[2:]) if sys.argv[1:2] == ["serve"] else None
    if options is not None:
        sys.exit(launch.serve(options))
    from watchword.cli import session
    from watchword.cli.application import application

    try:
        application(sys.argv[1] if len(sys.argv) > 1 else "")()
    except SystemExit as left:
        if _was_interrupted(left):
            sys.exit(130)
        if left.code == 2 and "--json" in sys.argv[1:]:
            reason = _reason(left)
            if reason is not None:
                session.print_json({"error": "wrong_usage", "error_description": reason})
        raise


def _was_interrupted(left: SystemExit) -> bool:
    """Whether somebody interrupted a prompt, which the parser reports in the same way as the end of its input."""
    # The parser exits while it handles an exception of its own, which was raised while it handled the interrupt.
    return isinstance(getattr(left.__context__, "__context__", None), KeyboardInterrupt)


def _reason(left: SystemExit) -> str | None:
    """Return what is wrong with a call, None where that is printed already."""
    unknown = "Standard error says what is wrong with the call."
    # The parser exits while it handles the exception that names the mistake.
    explain = getattr(left.__context__, "format_message", lambda: unknown)
    reason: str | None = getattr(left, "message", explain())
    return reason
