"""Which operations change nothing that anybody remembers, and which are one statement.

Everything read may be remembered until the database's `version` moves. The operations named here do not move it, because what
they write is only ever read afresh. An operation that is not named moves it: forgetting to name one costs speed, never safety.
"""

from collections.abc import Callable
from typing import Any

from watchword.store import (
    api_tokens,
    attempts,
    clients,
    devices,
    ended,
    interactions,
    keys,
    limits,
    tokens,
    trust,
)

QUIET: frozenset[Callable[..., Any]] = frozenset(
    {
        tokens.use_identifier,
        tokens.store_exchanged,
        tokens.record_assertion,
        trust.use_assertion,
        trust.note_refusal,
        api_tokens.flush_usage,
        clients.flush_client_usage,
        devices.note_poll,
        ended.number_next,
        keys.touch,
        attempts.admit,
        attempts.note_refused,
        attempts.note_factor_refused,
        attempts.give_back,
        limits.take,
        limits.purge,
        limits.purge_buckets,
        interactions.create_interaction,
        interactions.note_interaction,
        interactions.note_step,
        interactions.finish_interaction,
        interactions.push_request,
        interactions.use_pushed_request,
    }
)
# What changes something by one statement only is atomic by itself, and needs no savepoint or transaction to be undone alone.
SINGLE: frozenset[Callable[..., Any]] = frozenset(
    {
        tokens.use_identifier,
        limits.take,
        attempts.give_back,
        interactions.create_interaction,
        interactions.note_interaction,
        interactions.finish_interaction,
        interactions.push_request,
        interactions.use_pushed_request,
    }
)
