"""Three machines to lose: a network namespace on a bridge for each, the drill itself beside them; loopback where that is not allowed."""

import contextlib
import os
import random
import secrets
import shutil
import subprocess
from dataclasses import dataclass

NUMBER = 3
LOOPBACK = "127.0.0.1"


def as_postgres(*command: str) -> list[str]:
    """Return a command to be run by the user that may run PostgreSQL."""
    return ["runuser", "-u", "postgres", "--", *command] if os.geteuid() == 0 else list(command)


def call(*command: str) -> None:
    """Run a command of the system's, which must succeed."""
    subprocess.run(command, check=True, capture_output=True, timeout=20)


@dataclass(slots=True)
class Machines:
    """The network between them; `name` is empty where they share loopback."""

    name: str = ""
    net: str = ""

    def build(self) -> None:
        """Make the bridge and the namespaces, where the system allows it."""
        if os.geteuid() != 0 or not (shutil.which("ip") and shutil.which("iptables")):
            return
        self.name = f"ww{secrets.token_hex(3)}"
        self.net = f"10.{random.randint(64, 127)}.{random.randint(1, 254)}"
        try:
            self._bridge()
        except (OSError, subprocess.SubprocessError):
            self.remove()
            self.name = ""

    def _bridge(self) -> None:
        call("ip", "link", "add", self.name, "type", "bridge")
        call("ip", "addr", "add", f"{self.net}.1/24", "dev", self.name)
        call("ip", "link", "set", self.name, "up")
        for n in range(NUMBER):
            space = f"{self.name}-{n}"
            call("ip", "netns", "add", space)
            call("ip", "link", "add", space, "type", "veth", "peer", "name", "eth0", "netns", space)
            call("ip", "link", "set", space, "master", self.name, "up")
            call("ip", "-n", space, "addr", "add", f"{self.host(n)}/24", "dev", "eth0")
            for device in ("lo", "eth0"):
                call("ip", "-n", space, "link", "set", device, "up")
            call("ip", "netns", "exec", space, "iptables", "-L")

    def remove(self) -> None:
        """Take it all down."""
        spaces = [("ip", "netns", "del", f"{self.name}-{n}") for n in range(NUMBER)]
        for command in (*spaces, ("ip", "link", "del", self.name)) if self.name else ():
            with contextlib.suppress(OSError, subprocess.SubprocessError):
                call(*command)

    def host(self, n: int) -> str:
        """Return the address of a machine."""
        return f"{self.net}.{11 + n}" if self.name else LOOPBACK

    def on(self, n: int, *command: str) -> list[str]:
        """Return a command to be run on a machine by the user that may run PostgreSQL."""
        space = ["ip", "netns", "exec", f"{self.name}-{n}"] if self.name else []
        return [*space, *as_postgres(*command)]

    def cut(self, n: int) -> None:
        """Drop whatever goes between a machine and the other two; who is beside them, as a node of ours is, still reaches it."""
        for other in set(range(NUMBER)) - {n}:
            self._drop(n, "INPUT", "-s", self.host(other))
            self._drop(n, "OUTPUT", "-d", self.host(other))

    def isolate(self, n: int) -> None:
        """Drop whatever goes to a machine and comes from it, as when its cable is pulled."""
        self._drop(n, "INPUT", "-i", "eth0")
        self._drop(n, "OUTPUT", "-o", "eth0")

    def _drop(self, n: int, *rule: str) -> None:
        call("ip", "netns", "exec", f"{self.name}-{n}", "iptables", "-A", *rule, "-j", "DROP")

    def heal(self, n: int) -> None:
        """Let everything through again."""
        call("ip", "netns", "exec", f"{self.name}-{n}", "iptables", "-F")
