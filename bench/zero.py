"""Zero-knowledge proofs on one core: a part of `python -m bench`, or `python -m bench.zero [seconds]` alone; below 1 ms each."""

import os
import sys
import time
from collections.abc import Callable

from watchword.zero import disclosure, identity, proof
from watchword.zero.records import Proof, Secret, from_binary, to_binary

NOW = 1_800_000_000
VERIFIER = "https://api.example"
WITH_A_GOAL = ("prove, two attributes", "decode and verify, two attributes")


def microseconds(work: Callable[[], object], duration: float) -> tuple[float, float]:
    """Return the median and the 99th percentile of the CPU that repeated calls take."""
    taken: list[int] = []
    end = time.perf_counter() + duration
    while time.perf_counter() < end:
        start = time.thread_time_ns()
        work()
        taken.append(time.thread_time_ns() - start)
    taken.sort()
    return taken[len(taken) // 2] / 1000, taken[len(taken) * 99 // 100] / 1000


def measure(duration: float) -> dict[str, tuple[float, float]]:
    """Return the median and the 99th percentile in microseconds by what is done."""
    secret = Secret(os.urandom(32), disclosure.pack_attributes({"email": "ada@example.org", "age": 33}))
    known = identity.create(secret, NOW, NOW + 86400, os.urandom(32))
    asked = proof.issue_challenge(VERIFIER, "login", os.urandom(32), NOW, 120)
    channel = proof.dpop_channel("A" * 43)

    def prove(*names: str) -> Proof:
        return proof.prove(secret, asked, channel=channel, disclose=names, now=NOW, randomness=os.urandom(32))

    def verify(data: bytes) -> proof.Verified:
        return proof.verify_proof(
            from_binary(data, Proof),
            identity_public=known.public,
            verifier=VERIFIER,
            purpose="login",
            challenge=asked.challenge,
            channel=channel,
            now=NOW,
            leeway=0,
            commitments=known.commitments,
        )

    plain, opened = to_binary(prove()), to_binary(prove("email", "age"))
    works: dict[str, Callable[[], object]] = {
        "prove": prove,
        "prove, two attributes": lambda: prove("email", "age"),
        "decode and verify": lambda: verify(plain),
        "decode and verify, two attributes": lambda: verify(opened),
        "check an identity": lambda: identity.check_identity(known, now=NOW),
    }
    return {name: microseconds(work, duration) for name, work in works.items()}


def main() -> None:
    """Print the figures."""
    duration = float(sys.argv[1]) if len(sys.argv) > 1 else 2.0
    print(f"{'':36}{'median µs':>12}{'p99 µs':>12}{'per second':>12}")
    for name, (median, slow) in measure(duration).items():
        print(f"{name:36}{median:12.0f}{slow:12.0f}{1e6 / median:12.0f}")


if __name__ == "__main__":
    main()
