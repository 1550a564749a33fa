"""The ways in which a primary is lost, and comes back."""

import signal
import time
from collections.abc import Callable

from tests.drills.patroni import TTL, Member, Patroni, signal_all

AFTERWARDS = 5.0  # seconds for which the lost one stays away when another has the lead

Loss = Callable[[Patroni, Member], None]


def machine(cluster: Patroni, member: Member) -> None:
    """The machine is gone at once, and starts again later."""
    cluster.kill(member)
    cluster.wait_for_another(member)
    cluster.run(member)


def postgres(cluster: Patroni, member: Member) -> None:
    """Only PostgreSQL dies; its Patroni starts it again or gives the lead away."""
    signal_all(cluster.postgres(member)[-1:], signal.SIGKILL)


def patroni(cluster: Patroni, member: Member) -> None:
    """Only Patroni dies: PostgreSQL serves on and nobody looks after it, until Patroni is started again."""
    signal_all(cluster.programs(member, "patroni"), signal.SIGKILL)
    cluster.wait_for_another(member)
    time.sleep(AFTERWARDS)
    cluster.run(member)


def paused_machine(cluster: Patroni, member: Member) -> None:
    """The whole machine stands still for longer than its lease, as a virtual one may, and then goes on as if nothing were."""
    stopped = cluster.machine(member)
    signal_all(list(reversed(stopped)), signal.SIGSTOP)
    cluster.wait_for_another(member)
    time.sleep(AFTERWARDS)
    signal_all(stopped, signal.SIGCONT)
    cluster.run(member)  # what a watchdog has reset


def paused_postgres(cluster: Patroni, member: Member) -> None:
    """PostgreSQL alone stands still for longer than the lease."""
    stopped = cluster.postgres(member)
    signal_all(list(reversed(stopped)), signal.SIGSTOP)
    time.sleep(TTL + AFTERWARDS)
    signal_all(stopped, signal.SIGCONT)
    cluster.run(member)


def cut_off(cluster: Patroni, member: Member) -> None:
    """The primary reaches neither the other two nor a majority of etcd; the nodes of Watchword still reach it."""
    cluster.machines.cut(member.number)
    cluster.wait_for_another(member)
    time.sleep(AFTERWARDS)
    cluster.machines.heal(member.number)
    cluster.run(member)


def isolated(cluster: Patroni, member: Member) -> None:
    """Nobody reaches the machine and nothing says so: packets vanish."""
    cluster.machines.isolate(member.number)
    cluster.wait_for_another(member)
    time.sleep(AFTERWARDS)
    cluster.machines.heal(member.number)
    cluster.run(member)


LOSSES: dict[str, Loss] = {
    "machine": machine,
    "postgres": postgres,
    "patroni": patroni,
    "paused machine": paused_machine,
    "paused postgres": paused_postgres,
    "cut off": cut_off,
    "isolated": isolated,
}
