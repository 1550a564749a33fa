"""Attempts to sign in: charged to several rate-limit buckets at once, refusals recorded, successes refunded."""

import msgspec

from watchword.store.database import Transaction
from watchword.store.limits import take


class Bucket(msgspec.Struct, frozen=True):
    """A named token bucket: how many attempts it holds, and how many it regains per second."""

    name: str
    capacity: float
    per_second: float


async def admit(tx: Transaction, buckets: tuple[Bucket, ...], now: float) -> float:
    """Take one from each bucket; return 0, or the seconds to wait for the first that is empty."""
    for bucket in buckets:
        wait = await take(tx, bucket.name, capacity=bucket.capacity, per_second=bucket.per_second, now=now)
        if wait:
            return wait
    return 0.0


async def note_refused(
    tx: Transaction, overall: Bucket, user_id: str | None, address: str, *, now: float
) -> None:
    """Count a refused proof, and record it for the account that it concerned."""
    await take(tx, overall.name, capacity=overall.capacity, per_second=overall.per_second, now=now)
    if user_id is not None:
        await tx.record("sign_in.refused", actor="anonymous", target=user_id, at=int(now), address=address)


async def note_factor_refused(tx: Transaction, user_id: str, method: str, address: str, now: int) -> None:
    """Record a second factor that was not accepted."""
    await tx.record(
        "second_factor.refused", actor="anonymous", target=user_id, at=now, method=method, address=address
    )


async def give_back(tx: Transaction, bucket: Bucket) -> None:
    """Put one back into a bucket, up to what it holds."""
    await tx.run(
        "UPDATE buckets SET level = CASE WHEN level + 1 > $2 THEN $2 ELSE level + 1 END WHERE name = $1",
        bucket.name,
        bucket.capacity,
    )
