"""Mails about API tokens: they expire soon, or may have leaked.

That tokens expire soon is told once; the same transaction records that. A leak is told after the change that revokes the token,
because a failing mail must not prevent the revocation.

A holder can narrow a token as often as they like, name the results, and report them as leaked. So that nobody can send an owner
arbitrary text, or fill the outbox, a narrowed token is announced under the name of its origin, and once a day.
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from itertools import groupby
from typing import Any, Literal, NamedTuple

import msgspec

from watchword.flows import acting, mail
from watchword.flows.mail import Message, Origin
from watchword.flows.runtime import Runtime
from watchword.ratelimit import Limit
from watchword.store import api_tokens as store
from watchword.store import token_usage, users
from watchword.store.api_tokens import ApiToken
from watchword.store.database import StorageUnavailable, Transaction
from watchword.telemetry import log


class Within(NamedTuple):
    """How rows are read and mails put into the outbox: in a transaction, or each by itself."""

    read: Callable[..., Awaitable[Any]]
    put: Callable[[Message], Awaitable[None]]


PAGE = "/account/tokens"
MOST = 20  # tokens that one mail names
NARROWED = Limit(
    "notices of narrowed tokens", capacity=1, per_second=1 / 86_400
)  # by the token that they come from


def telling_of_ends(runtime: Runtime) -> Runtime:
    """Return a runtime for `note_expiring`, with which the owners of tokens that end soon are told, each in one mail.

    Those that were narrowed from others or made to live no longer than the notice are left out: whoever made them knows.
    """
    notice = runtime.settings.token_expiry_notice

    async def tell(tx: Transaction, ending: Iterable[ApiToken]) -> None:
        async def read(operation: Callable[..., Awaitable[Any]], *args: object) -> Any:
            return await operation(tx, *args)

        async def put(message: Message) -> None:
            await mail.adding(runtime, message)(tx)

        lasting = [
            one for one in ending if one.parent_id is None and (one.expires_at or 0) - one.created_at > notice
        ]
        await _tell(runtime, lasting, "token_expiring", Within(read, put))

    return acting.runtime_with(runtime, tell)


async def tell_leaked(
    runtime: Runtime, token_ids: Sequence[str], change: Literal["revoked", "exposed"], *, by: str = ""
) -> None:
    """Tell the owner of tokens that others may have, unless it was the owner's own act; `by` is who acted."""
    read = token_ids[:MOST]
    found = [await runtime.database.read(store.get_token, one) for one in read]
    others = [one for one in found if one and one.owner_id != by]
    named = [await _by_owners_name(runtime, one, read) for one in others]
    await _tell(
        runtime,
        [one for one in named if one is not None],
        "token_leaked",
        Within(runtime.database.read, partial(mail.send, runtime)),
        change=change,
        unread=len(token_ids[MOST:]),
    )


async def _by_owners_name(runtime: Runtime, token: ApiToken, told: Sequence[str]) -> ApiToken | None:
    """Return a token by a name that no holder chose; None for a narrowed one that need not be told of."""
    first: ApiToken | None = token
    while first is not None and first.parent_id is not None:
        first = await runtime.database.read(store.get_token, first.parent_id)
    if first is token:
        return token
    if first is None or first.id in told:
        return None
    if len(told) == 1 and runtime.take(NARROWED, first.id):  # only operators end several at once
        return None
    return msgspec.structs.replace(token, name=f"{first.name[:180]} (narrowed)")


async def _tell(
    runtime: Runtime,
    tokens: list[ApiToken],
    template: str,
    within: Within,
    *,
    unread: int = 0,
    **more: object,
) -> None:
    def owner(token: ApiToken) -> str:
        return token.owner_id

    personal = sorted((one for one in tokens if one.owner_kind == "user"), key=owner)
    for user_id, own in groupby(personal, owner):
        listed = list(own)
        try:
            user = await within.read(users.get_user, user_id)
            more["tokens"] = [await _described(runtime, one, within) for one in listed[:MOST]]
        except StorageUnavailable as error:  # a row that is damaged keeps nobody else from being told
            log.error("mail.not_written", user=user_id, reason=error.reason)
            continue
        if user is None or user.disabled_at is not None:
            continue
        more["further"] = len(listed[MOST:]) + unread
        message = mail.notice(runtime, user, template, Origin("", ""), PAGE, **more)
        if message is not None:
            await within.put(message)


async def _described(runtime: Runtime, token: ApiToken, within: Within) -> dict[str, object]:
    uses = await within.read(token_usage.list_secret_uses, token.id)
    hint = f"{runtime.settings.brand}a_…{uses[0].hint}" if uses else ""
    return {"name": token.name, "hint": hint, "expires_at": token.expires_at}
