"""The options of `watchword client create` and `client update`, declared once for both.

What they mean is in `cli.client_metadata`.
"""

from typing import Annotated, Literal

import typer

Many = list[str] | None
RedirectUri = Annotated[Many, typer.Option(help="Where codes are sent; repeatable.")]
Grant = Annotated[
    Many,
    typer.Option(
        help="Grant type; repeatable (a new client's: authorization_code and refresh_token with --redirect-uri, else client_credentials)."
    ),
]
Auth = Annotated[
    str | None,
    typer.Option(
        help="Authentication method at the token endpoint; changing to one without secrets ends the client's secrets."
    ),
]
Scope = Annotated[str | None, typer.Option(help="Scopes it may be granted, separated by spaces.")]
PostLogoutRedirectUri = Annotated[Many, typer.Option(help="Where people return after sign-out; repeatable.")]
BackchannelUri = Annotated[
    str | None, typer.Option(help="Where logout tokens are sent when a session ends (back-channel logout).")
]
BackchannelSession = Annotated[
    bool | None,
    typer.Option(
        "--backchannel-logout-session-required/--backchannel-logout-session-optional",
        help="Its logout tokens must name the session.",
    ),
]
FrontchannelUri = Annotated[
    str | None, typer.Option(help="What the browser loads at sign-out (front-channel logout).")
]
FrontchannelSession = Annotated[
    bool | None,
    typer.Option(
        "--frontchannel-logout-session-required/--frontchannel-logout-session-optional",
        help="The browser loads it with iss and sid.",
    ),
]
Jwks = Annotated[str | None, typer.Option(help="The client's public keys: a file or an https address.")]
Resource = Annotated[Many, typer.Option(help="An API that it may get tokens for; repeatable.")]
Pkce = Annotated[
    bool | None,
    typer.Option("--pkce/--no-pkce", help="A confidential OpenID client may use nonce instead of PKCE."),
]
Pushed = Annotated[
    bool | None,
    typer.Option("--pushed/--no-pushed", help="It must push its authorization requests (RFC 9126)."),
]
TokenFormat = Annotated[
    Literal["jwt", "opaque"] | None, typer.Option(help="Format of its access tokens: jwt or opaque.")
]
Lifetime = Annotated[str | None, typer.Option(help="Lifetime of its access tokens, such as 10m.")]
TokenStatus = Annotated[
    bool | None,
    typer.Option(
        "--token-status/--no-token-status", help="Its JWT access tokens name their place in a status list."
    ),
]
Native = Annotated[
    bool | None, typer.Option("--native/--web", help="An app on a person's machine (RFC 8252).")
]
Dpop = Annotated[
    bool | None, typer.Option("--dpop/--no-dpop", help="Its access tokens must be bound to a key.")
]
CertificateBound = Annotated[
    bool | None,
    typer.Option(
        "--certificate-bound/--no-certificate-bound", help="Its access tokens must be bound to a certificate."
    ),
]
CertificateSubject = Annotated[
    str | None, typer.Option(help="Its certificate's subject, such as san_dns=client.example.com.")
]
Profile = Annotated[
    Literal["default", "fapi2"] | None,
    typer.Option(help="Security profile: fapi2 asks for everything that FAPI 2.0 does."),
]
SignedRequests = Annotated[
    str | None,
    typer.Option(
        help="It must sign its authorization requests with this algorithm, such as ES256, or with any."
    ),
]
AuthAlgorithm = Annotated[
    str | None,
    typer.Option(help="The one algorithm of the assertions that it authenticates with by private_key_jwt."),
]
RequestAlgorithm = Annotated[
    str | None,
    typer.Option(help="Algorithm of the authorization requests that it signs, where signing is optional."),
]
MaxAge = Annotated[
    str | None,
    typer.Option(help="Maximum age of a sign-in where its request has no max_age, such as 8h."),
]
RequireAuthTime = Annotated[
    bool | None,
    typer.Option(
        "--require-auth-time/--auth-time-if-known",
        help="Its ID tokens carry auth_time; people whose provider does not report it have to sign in again.",
    ),
]
Acr = Annotated[
    Many,
    typer.Option(help="acr value that it wants where its request names none, preferred first; repeatable."),
]
Details = Annotated[
    Many, typer.Option(help="A type of authorization_details that it may ask for; repeatable.")
]
Group = Annotated[
    Many,
    typer.Option(
        help="A group whose members alone may sign in to it; repeatable, an empty one lets everybody in."
    ),
]
ExchangeFrom = Annotated[
    Many,
    typer.Option(
        help="An API that the client itself is: it may exchange tokens issued for that API; repeatable."
    ),
]
ExchangeFor = Annotated[
    Many,
    typer.Option(help="An API that it may get tokens for by exchange; repeatable (default: its resources)."),
]
Impersonate = Annotated[
    bool | None,
    typer.Option(
        "--impersonate/--no-impersonate", help="It may exchange tokens without naming itself as the actor."
    ),
]
Delegate = Annotated[
    bool | None,
    typer.Option("--delegate/--no-delegate", help="It may exchange tokens with an actor (the default)."),
]
ExchangeLifetime = Annotated[
    str | None, typer.Option(help="The longest lifetime of tokens that it gets by exchange, such as 5m.")
]
AssertTo = Annotated[
    Many, typer.Option(help="ISSUER=CLIENT_ID: another server for which it may get identity assertions.")
]
ExchangeRules = Annotated[
    str | None,
    typer.Option(help="All of its rules of token exchange: a JSON file, or an empty text for none."),
]
Pairwise = Annotated[
    bool | None,
    typer.Option(
        "--pairwise/--no-pairwise",
        help="Its subject identifiers for people cannot be linked to another client's.",
    ),
]
Sector = Annotated[
    str | None, typer.Option(help="The sector_identifier_uri, where its redirect URIs have several hosts.")
]
Sign = Annotated[
    Many,
    typer.Option(
        help="How answers for it are signed: id_token, userinfo or introspection, such as userinfo=ES256; repeatable."
    ),
]
Encrypt = Annotated[
    Many,
    typer.Option(
        help="How they are encrypted to its key, such as id_token=RSA-OAEP-256 or userinfo=ECDH-ES/A256GCM; repeatable."
    ),
]
