"""Which operations change nothing that is cached, which are a single statement, and which revoke something.

Everything read may be cached until the database's `version` moves. The operations of `QUIET` do not move it, because what they
write is never cached. An operation that is not named there moves it: forgetting to name one costs speed, never safety.

With several nodes, an operation of `ENDING` is acknowledged only after the others were told of it, or have nothing older cached (MN-01).
One that is missing there takes effect at the others as soon as they hear of it, and no later than any other change.
"""

from collections.abc import Callable, Sequence
from typing import Any

from watchword.store import (
    api_tokens,
    attempts,
    client_secrets,
    clients,
    devices,
    ended,
    grants,
    identities,
    interactions,
    keys,
    limits,
    profile_changes,
    redemption,
    registrations,
    sessions,
    token_usage,
    tokens,
    trust,
    user_changes,
    ways_in,
)
from watchword.store.answering import answer_pushed_with_code
from watchword.store.conditions import (
    and_end,
    and_then,
    as_administrator,
    for_the_first_time,
    from_address,
    in_session,
    on_ordinary,
)
from watchword.store.holders import as_holder

QUIET: frozenset[Callable[..., Any]] = frozenset(
    {
        tokens.use_identifier,
        tokens.store_exchanged,
        tokens.record_assertion,
        tokens.note_exposed,
        trust.use_assertion,
        trust.note_refusal,
        token_usage.flush_usage,
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
        interactions.begin_pushed_request,
        answer_pushed_with_code,
    }
)
# A single statement is atomic by itself: it needs neither a transaction nor a savepoint.
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
        client_secrets.add_secret,
        clients.delete_client,
        client_secrets.delete_secret,
        clients.update_client,
        and_end,
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
        profile_changes.update_profile,
        ways_in.revoke_own_identity,
    }
)
# Operations that run another one under a condition, or with more: the position of that one among their arguments after the transaction.
_WRAPPERS: dict[Callable[..., Any], int] = {
    and_then: 1,
    in_session: 3,
    as_administrator: 3,
    on_ordinary: 1,
    for_the_first_time: 2,
    from_address: 1,
    as_holder: 2,
}


def ends(operation: Callable[..., Any], args: Sequence[Any]) -> bool:
    """Whether an operation, or the one that it runs within, is one of ENDING."""
    while (place := _WRAPPERS.get(operation)) is not None:
        operation, args = args[place], args[place + 1 :]
    return operation in ENDING
