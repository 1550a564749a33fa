"""The JSON API for leaked credentials: identify a text, and revoke it. Not for deciding whether to let a request in."""

from collections.abc import Mapping
from typing import Annotated

import msgspec

from watchword.flows import examination, leaks
from watchword.flows.examination import Finding
from watchword.http.operation import Call, Operation

READ, WRITE = "watchword:tokens:read", "watchword:tokens:write"


class FoundInput(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A credential of any kind as it was found, with or without the name of its scheme."""

    token: Annotated[str, msgspec.Meta(min_length=1, max_length=examination.MAX_LENGTH)]


class Explained(msgspec.Struct, frozen=True):
    """What a credential is.

    `kind` is the letter of its format, "jwt", or "" for anything else; `reason` is "active" or why it is refused. A `bound` one is accepted
    with a proof of its key alone. `header` and `claims` are what a JWT says, true or not, all else is known. `ended` says that this call
    revoked it.
    """

    kind: str
    reason: str
    ended: bool
    bound: bool
    token_id: str | None
    client_id: str | None
    subject: str | None
    scope: str | None
    header: Mapping[str, object]
    claims: Mapping[str, object]


def view(finding: Finding, ended: bool) -> Explained:
    """Return how a finding is shown, here and on the command line."""
    return Explained(
        kind=finding.kind,
        reason=finding.reason,
        ended=ended,
        bound=finding.bound,
        token_id=finding.token.id if finding.token else None,
        client_id=finding.client_id,
        subject=finding.subject,
        scope=finding.scope,
        header=finding.header,
        claims=finding.claims,
    )


async def explain(call: Call) -> Explained:
    """Say what a credential of any kind is, whose it is, and whether it works; this does not count as a use."""
    return view(await examination.examine(call.request.runtime, call.body.token), ended=False)


async def end(call: Call) -> Explained:
    """Revoke a credential that leaked by its text: an API token with all narrowed from it, an access token, a refresh token with its grant."""
    finding, ended = await leaks.end(call.request.runtime, call.body.token, actor=call.caller.actor)
    return view(finding, ended)


OPERATIONS = (
    Operation(
        "POST",
        "/tokens/explain",
        explain,
        "Explain a token of any kind",
        READ,
        body=FoundInput,
        answer=Explained,
    ),
    Operation(
        "POST", "/tokens/leaked", end, "Revoke a leaked token", WRITE, body=FoundInput, answer=Explained
    ),
)
