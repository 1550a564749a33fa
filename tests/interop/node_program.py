"""Running a Node.js program of `tests/interop/node` and being the person at its browser."""

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.interop.conftest import Installation

PATIENCE = 60


@dataclass(frozen=True, slots=True)
class NodeProgram:
    """A program that asks its questions and tells its result in lines of JSON."""

    folder: Path
    name: str
    installation: Installation
    decision: str = "approve"

    def run(self, scenario: str, **given: Any) -> dict[str, Any]:
        """Run one scenario of the program to its end; fail with what it says when it fails."""
        program = subprocess.Popen(
            [str(self.folder / "node_modules" / ".bin" / "node"), self.name],
            cwd=self.folder,
            env={"PATH": os.environ["PATH"], "NODE_EXTRA_CA_CERTS": str(self.installation.authority)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            return self._converse(program, {"scenario": scenario, "issuer": self.installation.issuer} | given)
        finally:
            program.kill()
            program.communicate(timeout=PATIENCE)

    def _converse(self, program: subprocess.Popen[str], begin: dict[str, Any]) -> dict[str, Any]:
        assert program.stdin is not None
        assert program.stdout is not None
        browser = self.installation.browser(decision=self.decision)
        for line in program.stdout:
            said = json.loads(line)
            assert "failed" not in said, said["failed"]
            if "result" in said:
                result: dict[str, Any] = said["result"]
                return result
            answer: object = begin
            if "visit" in said:
                answer = browser.visit(said["visit"])
            elif "walk" in said:
                answer = str(browser.walk(said["walk"]).url)
            program.stdin.write(json.dumps(answer) + "\n")
            program.stdin.flush()
        raise AssertionError("the program ended without a result")
