"""docs/zero.md §12: a zero-knowledge proof as a grant: a person's program proves an identity and gets a DPoP-bound token.

An extension grant in the sense of RFC 6749 §4.5. Proof and token are bound to the same DPoP key, so that neither is worth anything to
somebody who relays or steals it.
"""

from collections.abc import Mapping

from watchword.credentials.zkproof import ZeroError
from watchword.flows import identities, membership, minting
from watchword.flows.minting import AccessGrant
from watchword.flows.runtime import Runtime
from watchword.flows.token_request import TokenRequest
from watchword.oauth import authorization_details
from watchword.oauth.errors import OAuthError
from watchword.oauth.scopes import for_people, narrow, parse_scope
from watchword.oauth.targets import resolve_audience
from watchword.zero.proof import dpop_channel


async def handle(runtime: Runtime, request: TokenRequest) -> Mapping[str, object]:
    """Issue an access token to the person whose identity was proven.

    Raises `invalid_grant` for a proof that is invalid or of nobody here, `invalid_dpop_proof` without a DPoP proof, and as
    `Binding.confirmation`.
    """
    client, form, jkt = request.client, request.form, request.binding.jkt
    given = form.require("proof")
    if not identities.are_accepted(runtime):
        raise OAuthError("invalid_grant", identities.NOT_ACCEPTED)
    authorization_details.refuse(form.get("authorization_details"))
    if jkt is None:
        raise OAuthError(
            "invalid_dpop_proof", "This grant needs a DPoP proof: the token is bound to its key."
        )
    confirmation = request.confirmation()  # before the proof is used up
    scope = narrow(parse_scope(form.get("scope") or ""), for_people(client.scope))
    audience = resolve_audience(form.all("resource"), client.resources, runtime.settings.resource)
    channel = dpop_channel(jkt)
    try:
        user = await identities.sign_in(runtime, identities.read_proof(given), identities.TOKEN, channel)
    except ZeroError as error:
        await identities.throttle(runtime, f"client {client.client_id}")
        raise OAuthError("invalid_grant", "The proof is not valid here.", detail=error.reason) from None
    if await identities.needs_second_factor(runtime, user):
        raise OAuthError("invalid_grant", "This account needs a second factor: sign in with a browser.")
    scope = membership.require_open(runtime.settings, client, user, scope)
    grant = AccessGrant(
        client=client,
        subject=user.id,
        scope=scope,
        audience=audience,
        lifetime=minting.lifetime_of(runtime, client),
        claims={
            "auth_time": runtime.now(),
            "amr": ["pop"],
            **confirmation,
            **membership.claims(user, scope),
        },
    )
    return minting.token_response(await minting.issue(runtime, grant), scope)
