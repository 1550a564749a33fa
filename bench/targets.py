"""What is asked of whom: the servers of one run, and for each the conversations that it is loaded with.

A target has the name of its server and of what is asked of it; the ratios in `bench.ratios` are between targets by these names.
"""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from bench import conversations, load, node_oidc_provider, postgres, python_peers, watchword_server
from bench.conversations import WITHOUT_ID_TOKEN
from bench.load import Conversation

TOKENS = 100  # that introspection asks about in turn
SERVERS = {
    "ours": "Watchword",
    "ours on PostgreSQL": "Watchword on PostgreSQL",
    "node jwt": "oidc-provider",
    "node memory": "oidc-provider, in memory",
    "node sqlite": "oidc-provider, SQLite",
    "django_oauth_toolkit": "django-oauth-toolkit",
    "authlib": "Authlib",
}
OPERATIONS = {
    "jwt": "client_credentials, ES256 JWT",
    "opaque": "client_credentials, opaque",
    "ask": "introspection",
    "refresh": "refresh rotation with ID token",
    "refresh only": "refresh rotation",
    "code": "code flow on a live session",
}
STEPS = {"code": 2}  # answers that make one of what is counted


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """One thing to ask a server for, and the CPU seconds that the server has used."""

    server: str
    operation: str
    port: int
    begin: Callable[[], Conversation]
    cpu: Callable[[], float]
    memory: Callable[[], float] = lambda: 0.0

    @property
    def name(self) -> str:
        """What is shown."""
        return f"{SERVERS.get(self.server, self.server)}: {OPERATIONS[self.operation]}"


def install_node() -> bool:
    """Install oidc-provider from its lock file if need be; False, with what to do, when npm is not there."""
    if (node_oidc_provider.HOME / "node_modules").is_dir():
        return True
    if shutil.which("npm") is None:
        print("npm was not found, so oidc-provider is not measured. Install Node.js with npm and run again.")
        return False
    command = ["npm", "ci", "--no-audit", "--no-fund", "--prefix", str(node_oidc_provider.HOME)]
    done = subprocess.run(command, check=False)
    if done.returncode:
        print("npm ci failed (see above), so oidc-provider is not measured. Repair that and run again.")
    return done.returncode == 0


@contextlib.contextmanager
def servers(connections: int) -> Iterator[list[Target]]:
    """Start every server that there is and return what is asked of each."""
    with contextlib.ExitStack() as stack:
        ours = stack.enter_context(watchword_server.running(core=0, people=connections))
        found = list(our_targets("ours", ours))
        binaries = postgres.find_binaries()
        if binaries is None:
            print("PostgreSQL is not installed: Watchword is measured on SQLite alone.")
        else:
            address = stack.enter_context(postgres.running(binaries))
            other = watchword_server.running(core=0, database=address, people=connections)
            found += our_targets("ours on PostgreSQL", stack.enter_context(other))
        if install_node():
            for mode in node_oidc_provider.MODES:
                node = stack.enter_context(node_oidc_provider.running(mode, core=0))
                found += node_targets(node, connections)
        if python_peers.install():
            for name in python_peers.PEERS:
                peer = stack.enter_context(python_peers.running(name, core=0))
                found += python_targets(peer, connections)
        yield found


def our_targets(name: str, server: watchword_server.Watchword) -> Iterator[Target]:
    """Everything, on either database."""
    jwt, opaque, people, cookies = server.jwt, server.opaque, server.people, server.cookies
    token, short = jwt.client_credentials(), opaque.client_credentials()
    families = conversations.refresh_tokens(people, cookies)
    plain = conversations.refresh_tokens(people, cookies, WITHOUT_ID_TOKEN)
    begins = {
        "jwt": load.always(lambda: token),
        "opaque": load.always(lambda: short),
        "ask": load.always(opaque.introspections(TOKENS)),
        "refresh": conversations.refreshing(people, families),
        "refresh only": conversations.refreshing(people, plain),
        "code": conversations.authorizing(people, cookies),
    }
    for operation, begin in begins.items():
        yield Target(name, operation, people.port, begin, server.cpu, server.memory)


def node_targets(peer: node_oidc_provider.Peer, connections: int) -> Iterator[Target]:
    """Tokens in the peer's mode; the rest where its tokens are opaque, that is in both kinds of storage."""
    name, server = f"node {peer.mode}", peer.server
    request = server.client_credentials()
    if peer.mode == "jwt":
        yield Target(name, "jwt", server.port, load.always(lambda: request), peer.cpu)
        return
    cookies = peer.sign_in(connections)
    begins = {
        "opaque": load.always(lambda: request),
        "ask": load.always(server.introspections(TOKENS)),
        "refresh": conversations.refreshing(server, conversations.refresh_tokens(server, cookies)),
        "code": conversations.authorizing(server, cookies),
    }
    for operation, begin in begins.items():
        yield Target(name, operation, server.port, begin, peer.cpu)


def python_targets(peer: python_peers.Peer, connections: int) -> Iterator[Target]:
    """Opaque tokens, introspection and rotation, all of them kept in SQLite."""
    request = peer.machine.client_credentials()
    begins = {
        "opaque": load.always(lambda: request),
        "ask": load.always(peer.machine.introspections(TOKENS)),
        "refresh only": conversations.refreshing(peer.people, peer.refresh_tokens(connections)),
    }
    for operation, begin in begins.items():
        yield Target(peer.name, operation, peer.machine.port, begin, peer.cpu)


def resident(found: Sequence[Target]) -> float:
    """Return our own resident memory in MB, on SQLite."""
    return next(target.memory() for target in found if target.server == "ours") / 1e6


def pin_load() -> None:
    """Keep the load generator off the servers' core, where the system allows it."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {(os.cpu_count() or 1) - 1})
