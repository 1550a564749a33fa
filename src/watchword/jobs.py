"""Background jobs: write counters, deliver mail and logout notices, purge expired rows, rotate keys, announce expiring tokens."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Iterable
from functools import partial

from watchword import smtp
from watchword.flows import logout_delivery, mail, token_notices
from watchword.flows.clients import client_certificates
from watchword.flows.even_clock import EvenClock
from watchword.flows.mail import Message
from watchword.flows.runtime import Runtime
from watchword.flows.users import recovery, sign_up
from watchword.pages import render
from watchword.pages.branding import branding_of
from watchword.store import api_tokens, browsers, keys, limits, outbox, registrations, sessions, token_purge
from watchword.store.audit import events
from watchword.store.database import StorageUnavailable
from watchword.store.outbox import Outgoing
from watchword.telemetry import count, log

FLUSH_INTERVAL = 1.0
HOUSEKEEPING_INTERVAL = 60.0
# A key is kept for a while after it is unpublished, so that the verification of an old token can name the key that signed it.
KEY_RETENTION = 90 * 86_400
DEAD_TOKEN_RETENTION = 90 * 86_400
BROWSER_RETENTION = 400 * 86_400
PAUSE = 0.05  # seconds between two steps of a purge at most


async def flush_usage(runtime: Runtime) -> None:
    """Write the counters collected since the last time, and log what was issued."""
    for client_id, times in runtime.usage.take_issues().items():
        log.info("tokens.issued", client=client_id, times=times)
    await runtime.usage.flush(runtime.database)


async def deliver_mail(runtime: Runtime) -> None:
    """Send the mail that is due; what the mail server refuses now is tried again later, and so is what cannot be read or written."""
    if not runtime.settings.mails or not await runtime.database.read(outbox.is_mail_due, runtime.now()):
        return
    failures: list[Exception] = []
    while (outgoing := await runtime.database.write(outbox.claim_mail, runtime.now())) is not None:
        try:
            message = await _resolve(runtime, mail.read(runtime, outgoing), again=outgoing.attempts > 1)
            if message is None or await _send(runtime, outgoing, message):
                await runtime.database.write(outbox.note_delivered, outgoing.id)
        except smtp.MailError as error:
            log.warning("mail.postponed", mail=outgoing.id, attempts=outgoing.attempts, reason=error.reason)
        except Exception as error:  # one mail must not stop the others
            log.error("mail.failed", mail=outgoing.id, attempts=outgoing.attempts, error=repr(error))
            failures.append(error)
    if failures:
        raise failures[0]


async def _resolve(runtime: Runtime, message: Message, *, again: bool) -> Message | None:
    if message.template == recovery.ASKED:
        return await recovery.resolve(runtime, message, again=again)
    if message.template == sign_up.ASKED:
        return await sign_up.resolve(runtime, message, again=again)
    return message


async def _send(runtime: Runtime, outgoing: Outgoing, message: Message) -> bool:
    """Send a mail; in development, without a server, show it in the log and keep it for the page (then False)."""
    settings = runtime.settings
    brand = branding_of(settings)
    rendered = render.render_mail(message.template, message.context, locale=message.locale, branding=brand)
    if settings.smtp_url and settings.mail_from:
        letter = smtp.Letter(
            message.to, rendered.subject, rendered.body, settings.mail_from, outgoing.created_at
        )
        await smtp.send(settings.smtp_url, letter)
        return True
    sealed = mail.seal(runtime, outgoing.id, message)
    await runtime.database.write(outbox.keep_delivered, outgoing.id, sealed, runtime.now())
    log.warning(
        "mail.shown",
        to=message.to,
        subject=rendered.subject,
        text=rendered.body,
        page=f"{settings.issuer}/dev/mail",
    )
    return False


async def housekeeping_by_a_sound_clock(runtime: Runtime, even: EvenClock) -> None:
    """Keep house only while the clock is plausible: a purge by a wrong clock cannot be undone."""
    reason = await even.doubt(runtime.database)
    if reason:
        log.warning("housekeeping.postponed", reason=reason)
        return
    await housekeeping(runtime)


async def housekeeping(runtime: Runtime) -> None:
    """Rotate keys that are due, announce tokens that expire soon, purge in small steps; a failing step does not stop the others."""
    # Last what may take long: after an outage there may be hours of it.
    steps = (_rotate_keys, _announce_expiring, _end_sessions, _purge_tables, _purge_events)
    await take_each(runtime, (partial(step, runtime) for step in steps))


async def take_each(runtime: Runtime, steps: Iterable[Callable[[], Awaitable[None]]]) -> None:
    """Take every step, whichever fail, unless nothing can be written; raise the first failure, after the log was told of the others.

    What is not the database's comes before an outage, during which steps may fail for several reasons.
    """
    failures: list[Exception] = []
    for step in steps:
        try:
            await step()
        except StorageUnavailable as error:
            failures.append(error)
            if not await _can_write(runtime):  # each of the others would wait for it as long
                break
        except Exception as error:
            failures.append(error)
    if failures:
        defects = [one for one in failures if not isinstance(one, StorageUnavailable)]
        first = (defects or failures)[0]
        for other in sorted({repr(one) for one in defects} - {repr(first)}):
            log.error("job.failed", job="housekeeping", error=other)
        raise first


async def _can_write(runtime: Runtime) -> bool:
    try:
        await runtime.database.write(keys.touch, os.urandom(8).hex())
    except StorageUnavailable:
        return False
    return True


async def in_steps(step: Callable[[], Awaitable[int]], full: int = 1) -> None:
    """Repeat a step until it does less than a full one; rest in between for as long as it took, so that others get their turn.

    All nodes of a database together purge as fast as one, since they reach for the same rows: a fixed rest would let the tables of
    many busy nodes grow for ever.
    """
    begun = time.monotonic()
    while await step() >= full:
        await asyncio.sleep(min(PAUSE, time.monotonic() - begun))
        begun = time.monotonic()


async def _end_sessions(runtime: Runtime) -> None:
    await in_steps(partial(runtime.database.write, sessions.end_expired, runtime.now()))


async def _purge_tables(runtime: Runtime) -> None:
    now, write = runtime.now(), runtime.database.write
    unused = now - runtime.settings.self_registered_unused
    purges: list[tuple[Callable[[], Awaitable[int]], int]] = [
        *(
            (partial(write, limits.purge, table, now - 60 - limits.KEPT.get(table, 0)), limits.STEP)
            for table in limits.PURGED
        ),
        (partial(write, limits.purge_buckets, now - 86_400), limits.STEP),
        (partial(write, keys.purge_keys, now - KEY_RETENTION), keys.STEP),
        (partial(write, token_purge.purge_dead_tokens, now - DEAD_TOKEN_RETENTION), 1),
        (partial(write, registrations.purge_unused_clients, unused, now=now), 1),
        (partial(write, browsers.purge_browsers, now - BROWSER_RETENTION), 1),
    ]
    await take_each(runtime, (partial(in_steps, step, full) for step, full in purges))


async def _purge_events(runtime: Runtime) -> None:
    retention, key = runtime.now() - runtime.settings.audit_retention, runtime.root.derive("audit")
    await in_steps(partial(runtime.database.write, events.purge_events, retention, key))
    for chain in await runtime.database.read(events.list_unpurged, retention):
        log.warning("audit.not_purged", chain=chain, reason="its events cannot be read")


async def _rotate_keys(runtime: Runtime) -> None:
    for algorithm in await runtime.keyring.rotate_due():
        log.info("key.rotated", algorithm=algorithm)


async def _announce_expiring(runtime: Runtime) -> None:
    notice = runtime.now() + runtime.settings.token_expiry_notice
    within = token_notices.telling_of_ends(runtime).database
    while ending := await within.write(api_tokens.note_expiring, before=notice, now=runtime.now()):
        for token in ending:
            log.info("token.expiring", token=token.id, owner=token.owner_id, expires_at=token.expires_at)
        await asyncio.sleep(PAUSE)


TRUST_INTERVAL = 1.0

Job = Callable[[Runtime], Awaitable[None]]
JOBS: tuple[tuple[str, float, Job], ...] = (
    ("flush_usage", FLUSH_INTERVAL, flush_usage),
    ("deliver_mail", FLUSH_INTERVAL, deliver_mail),
    ("deliver_logouts", FLUSH_INTERVAL, logout_delivery.deliver_due),
    ("housekeeping", HOUSEKEEPING_INTERVAL, housekeeping),
    ("trust_certificates", TRUST_INTERVAL, client_certificates.trust_registered),
)


# Every process runs these itself: only it has its counters, and its own TLS handshake needs the certificates.
OWN = (flush_usage, client_certificates.trust_registered)


def start(runtime: Runtime) -> list[asyncio.Task[None]]:
    """Start the jobs that every process runs and, where the settings say so, the shared ones; cancel the tasks to stop them."""
    even = EvenClock(runtime.clock)
    sound: Job = partial(housekeeping_by_a_sound_clock, even=even)
    return [
        asyncio.create_task(
            _repeat(runtime, name, interval, sound if job is housekeeping else job), name=name
        )
        for name, interval, job in JOBS
        if runtime.settings.jobs or job in OWN
    ]


async def _repeat(runtime: Runtime, name: str, interval: float, job: Job) -> None:
    while True:
        await asyncio.sleep(interval)
        try:
            await job(runtime)
            count("jobs", name, "done")
        except StorageUnavailable as error:
            count("jobs", name, "unavailable")
            log.warning("job.postponed", job=name, reason=error.reason)
        except Exception as error:  # a job must never end the loop; the next round tries again
            count("jobs", name, "failed")
            log.error("job.failed", job=name, error=repr(error))
