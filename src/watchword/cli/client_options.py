"""The options of `watchword client create` and `client update`, declared once for both.

What they mean is in `cli.client_metadata`.
"""

from typing import Annotated, Literal

import typer

from watchword.cli import session

Many = list[str] | None
RedirectUri = Annotated[Many, typer.Option(help="Where authorization codes are sent; repeatable.")]
Grant = Annotated[
    Many,
    typer.Option(
        help="Grant type; repeatable (a new client's default: authorization_code and refresh_token with --redirect-uri, else client_credentials)."
    ),
]
Auth = Annotated[
    str | None,
    typer.Option(
        help="Authentication method at the token endpoint; changing to one without secrets revokes the client's secrets."
    ),
]
Scope = Annotated[
    str | None, typer.Option(callback=session.scopes, help="Scopes it may be granted, separated by spaces.")
]
PostLogoutRedirectUri = Annotated[
    Many, typer.Option(help="Where people may return to after signing out; repeatable.")
]
BackchannelUri = Annotated[
    str | None,
    typer.Option(help="Address that receives logout tokens when a session ends (back-channel logout)."),
]
BackchannelSession = Annotated[
    bool | None,
    typer.Option(
        "--backchannel-logout-session-required/--backchannel-logout-session-optional",
        help="Whether its logout tokens must name the session.",
    ),
]
FrontchannelUri = Annotated[
    str | None, typer.Option(help="Address that the browser loads at sign-out (front-channel logout).")
]
FrontchannelSession = Annotated[
    bool | None,
    typer.Option(
        "--frontchannel-logout-session-required/--frontchannel-logout-session-optional",
        help="Whether the browser adds iss and sid to that address.",
    ),
]
Jwks = Annotated[str | None, typer.Option(help="The client's public keys: a file or an https address.")]
Resource = Annotated[Many, typer.Option(help="An API that it may get tokens for; repeatable.")]
Pkce = Annotated[
    bool | None,
    typer.Option(
        "--pkce/--no-pkce",
        help="Whether it must use PKCE; a confidential OpenID client may use nonce instead.",
    ),
]
Pushed = Annotated[
    bool | None,
    typer.Option("--pushed/--no-pushed", help="Whether it must push its authorization requests (RFC 9126)."),
]
TokenFormat = Annotated[
    Literal["jwt", "opaque"] | None, typer.Option(help="Format of its access tokens: jwt or opaque.")
]
Lifetime = Annotated[str | None, typer.Option(help="Lifetime of its access tokens, such as 10m.")]
TokenStatus = Annotated[
    bool | None,
    typer.Option(
        "--token-status/--no-token-status", help="Whether its JWT access tokens refer to a status list."
    ),
]
FirstParty = Annotated[
    bool | None,
    typer.Option(
        "--first-party/--third-party", help="Whether it is your own: nobody is asked to consent to it."
    ),
]
Native = Annotated[
    bool | None,
    typer.Option("--native/--web", help="An app on a person's device (RFC 8252), or a web application."),
]
Dpop = Annotated[
    bool | None,
    typer.Option("--dpop/--no-dpop", help="Whether its access tokens must be bound to a key (DPoP)."),
]
CertificateBound = Annotated[
    bool | None,
    typer.Option(
        "--certificate-bound/--no-certificate-bound",
        help="Whether its access tokens must be bound to a certificate (mTLS).",
    ),
]
CertificateSubject = Annotated[
    str | None, typer.Option(help="Its certificate's subject, such as san_dns=client.example.com.")
]
Profile = Annotated[
    Literal["default", "fapi2"] | None,
    typer.Option(help="Security profile; fapi2 enforces the FAPI 2.0 Security Profile."),
]
SignedRequests = Annotated[
    str | None,
    typer.Option(
        help="Require signed authorization requests, with this algorithm, such as ES256, or with any."
    ),
]
AuthAlgorithm = Annotated[
    str | None,
    typer.Option(help="The only algorithm accepted for its private_key_jwt assertions."),
]
RequestAlgorithm = Annotated[
    str | None,
    typer.Option(help="The only algorithm accepted for its authorization requests if it signs them."),
]
MaxAge = Annotated[
    str | None,
    typer.Option(help="Maximum age of a sign-in, such as 8h, if its request has no max_age."),
]
RequireAuthTime = Annotated[
    bool | None,
    typer.Option(
        "--require-auth-time/--auth-time-if-known",
        help="Whether its ID tokens must have auth_time; people whose provider does not report it then have to sign in again.",
    ),
]
Acr = Annotated[
    Many,
    typer.Option(help="acr value to ask for if its request names none, preferred first; repeatable."),
]
Details = Annotated[
    Many, typer.Option(help="A type of authorization_details that it may request; repeatable.")
]
Group = Annotated[
    Many,
    typer.Option(
        help="Only members of this group may sign in to it; repeatable; an empty one admits everybody."
    ),
]
ExchangeFrom = Annotated[
    Many,
    typer.Option(
        help="An API that the client implements: it may exchange tokens issued for that API; repeatable."
    ),
]
ExchangeFor = Annotated[
    Many,
    typer.Option(help="An API that it may get tokens for by exchange; repeatable (default: its resources)."),
]
Impersonate = Annotated[
    bool | None,
    typer.Option(
        "--impersonate/--no-impersonate",
        help="Whether it may exchange tokens without naming itself as the actor.",
    ),
]
Delegate = Annotated[
    bool | None,
    typer.Option(
        "--delegate/--no-delegate", help="Whether it may exchange tokens with an actor (the default)."
    ),
]
ExchangeLifetime = Annotated[
    str | None, typer.Option(help="Maximum lifetime of tokens that it gets by exchange, such as 5m.")
]
AssertTo = Annotated[
    Many, typer.Option(help="ISSUER=CLIENT_ID: another server for which it may get identity assertions.")
]
ExchangeRules = Annotated[
    str | None,
    typer.Option(help="All its token exchange rules: a JSON file, or an empty text for none."),
]
Pairwise = Annotated[
    bool | None,
    typer.Option(
        "--pairwise/--no-pairwise",
        help="Whether it gets pairwise subject identifiers, which cannot be linked to other clients'.",
    ),
]
Sector = Annotated[
    str | None, typer.Option(help="The sector_identifier_uri, if its redirect URIs have several hosts.")
]
Sign = Annotated[
    Many,
    typer.Option(
        help="Algorithm that signs its id_token, userinfo or introspection responses, such as userinfo=ES256; repeatable."
    ),
]
Encrypt = Annotated[
    Many,
    typer.Option(
        help="Algorithms that encrypt them with its key, such as id_token=RSA-OAEP-256 or userinfo=ECDH-ES/A256GCM; repeatable."
    ),
]
