"""Which operations change nothing that anybody remembers, which are one statement, and which take something away.

Everything read may be remembered until the database's `version` moves. The operations named here do not move it, because what
they write is only ever read afresh. An operation that is not named moves it: forgetting to name one costs speed, never safety.

Where several nodes remember, an operation of `ENDING` is acknowledged after the others were told of it, or remember nothing from before
it (MN-01). What forgets to be named there is over at the others as soon as they hear of it, and no later than anything else.
"""

from collections.abc import Callable, Sequence
from typing import Any

from watchword.store import (
    api_tokens,
    attempts,
    clients,
    devices,
    ended,
    grants,
    identities,
    interactions,
    keys,
    limits,
    redemption,
    registrations,
    sessions,
    tokens,
    trust,
    user_changes,
    ways_in,
)
from watchword.store.conditions import as_administrator, in_session, on_ordinary

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
        redemption.use_refresh_token,
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
ENDING: frozenset[Callable[..., Any]] = frozenset(
    {
        api_tokens.revoke_token,
        api_tokens.revoke_tokens_of,
        api_tokens.rotate_token,
        clients.add_secret,
        clients.delete_client,
        clients.delete_secret,
        clients.update_client,
        devices.redeem_device_code,
        grants.end_grant,
        identities.revoke_identity,
        keys.replace_next,
        keys.revoke_key,
        redemption.refuse_code,
        redemption.settle_refresh_token,
        registrations.replace_registration,
        sessions.end_session,
        sessions.end_session_elsewhere,
        sessions.end_sessions_from,
        sessions.end_sessions_of,
        tokens.revoke_access_token,
        tokens.revoke_jti,
        trust.delete_rule,
        trust.replace_rule,
        user_changes.change_own_password,
        user_changes.delete_user,
        user_changes.end_elsewhere,
        user_changes.end_grants_of,
        user_changes.recover_by_passkey,
        user_changes.remove_factors,
        user_changes.reset_password,
        user_changes.set_disabled,
        ways_in.revoke_own_identity,
    }
)
# What is done under a condition, by its place among what each of these is given.
_ASKED: dict[Callable[..., Any], int] = {in_session: 3, as_administrator: 3, on_ordinary: 1}


def ends(operation: Callable[..., Any], given: Sequence[Any]) -> bool:
    """Whether an operation takes something away, or the one does that is done under a condition by it."""
    place = _ASKED.get(operation)
    return (operation if place is None else given[place]) in ENDING
