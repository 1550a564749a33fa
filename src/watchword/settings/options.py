"""Every option of the server, with its type and default; `loading` reads them and `checks` checks them."""

from typing import Annotated, Literal

import msgspec

from watchword.networks import split_hosts

DAY = 86_400
LONGEST_API_TOKEN = 365 * DAY  # seconds, where no setting says otherwise
Seconds = Annotated[int, msgspec.Meta(ge=1, le=3650 * DAY)]


class SettingsError(ValueError):
    """An option is unknown, malformed or dangerous; the message says which and what to change."""


class Upstream(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Another provider that people may sign in with: any OpenID provider by its issuer, GitHub, or Apple."""

    name: Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9-]{0,30}\Z")]
    title: str
    client_id: str
    client_secret: str | None = None
    # For Apple, in place of a secret: the team, the name of its key, and the file of that key
    team_id: str | None = None
    key_id: str | None = None
    private_key_file: str | None = None
    # How the secret is sent; without it, as the provider's discovery document says, in a header where that is taken
    auth: Literal["client_secret_basic", "client_secret_post"] | None = None
    kind: Literal["openid", "github", "apple"] = "openid"
    issuer: str | None = None
    scopes: tuple[str, ...] = ("openid", "profile", "email")
    # How it sends its answer: in the address, or as a form of its page, as Apple always does
    response_mode: Literal["query", "form_post"] = "query"
    # Whether it tells `auth_time` when it is asked for a `max_age`; without it, as it is known of the provider, else yes
    tells_auth_time: bool | None = None
    # Where its endpoints may be besides the issuer's own host
    hosts: tuple[str, ...] = ()
    # Private networks in which they may be, such as "10.20.0.0/16"; there on any port
    networks: tuple[str, ...] = ()


class ScopeText(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a scope means to people: a sentence (or one for each language), how much it can do, and who may have it.

    A `personal` scope is one that people may give to API tokens of their own; an `optional` one may be unticked at consent.
    `claims` are the attributes of a person that it tells, besides those of OpenID Connect. With `groups`, only people in one of them may
    have it.
    """

    sentence: str | dict[str, str] | None = None
    risk: Literal["low", "elevated", "high"] = "low"
    personal: bool = False
    optional: bool = False
    claims: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()


class DetailText(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A type of rich authorization request (RFC 9396): what it means to people, and what its objects may hold.

    `members` maps each member to its shape: "string", "integer", "number", "boolean", a list of one shape, or a table of members.
    `allowed` names the values of `actions`, `locations`, `datatypes` and `privileges`. `labels` are what people read beside a
    member's value. What is asked for `once` is never remembered.
    """

    sentence: str | dict[str, str]
    risk: Literal["low", "elevated", "high"] = "elevated"
    members: dict[str, object] = {}
    required: tuple[str, ...] = ()
    allowed: dict[Literal["locations", "actions", "datatypes", "privileges"], tuple[str, ...]] = {}
    labels: dict[str, str | dict[str, str]] = {}
    once: bool = False


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The checked options; durations are in seconds.

    The console shows every value, so that none may be a secret: passwords are in addresses, which it shows without them, or in tables, of
    which it shows the names.
    """

    # Where the server is and what it is called; an empty issuer is filled in when the data is opened
    issuer: str = ""
    host: str = "127.0.0.1"
    port: Annotated[int, msgspec.Meta(ge=1, le=65535)] = 8000
    service_name: str = "Watchword"
    template_directory: str | None = None
    logo: str | None = None
    logo_dark: str | None = None
    accent_colour: str = "#0d6b5e"
    accent_colour_dark: str | None = None
    privacy_url: str | None = None
    terms_url: str | None = None
    help_url: str | None = None
    mode: Literal["production", "development"] = "production"
    workers: Annotated[int, msgspec.Meta(ge=1, le=256)] = 1
    tls_cert: str | None = None
    tls_key: str | None = None
    tls_client_ca: str | None = None
    tls_client_self_signed: bool = False
    client_certificate_header: str | None = None
    client_certificate_verified_header: str | None = None
    mtls_address: str | None = None
    behind_tls_proxy: bool = False
    trusted_proxies: tuple[str, ...] = ()

    # What it keeps
    database: str = "watchword.db"
    key_file: str | None = None
    audit_retention: Seconds = 400 * DAY
    database_timeout: Annotated[int, msgspec.Meta(ge=1, le=DAY)] = 5  # beyond 31 bits of ms: none
    database_replica: str | None = None
    database_pool: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 10

    # What it issues
    brand: str = "ww"
    signing_algorithms: tuple[Literal["ES256", "EdDSA", "RS256"], ...] = ("ES256", "EdDSA")
    signing_key_lifetime: Seconds = 90 * DAY
    signing_key_overlap: Seconds = 2 * DAY
    access_token_lifetime: Annotated[int, msgspec.Meta(ge=1, le=DAY)] = 600
    api_token_lifetime: Seconds = 90 * DAY
    api_token_max_lifetime: Seconds = LONGEST_API_TOKEN
    api_token_allow_never: bool | None = None
    token_expiry_notice: Seconds = 7 * DAY
    exposed_tokens: Literal["record", "revoke"] = "record"
    default_resource: str | None = None
    scopes: dict[str, ScopeText] = {}
    resources: dict[str, str] = {}
    status_lists: tuple[str, ...] = ()
    status_list_ttl: Annotated[int, msgspec.Meta(ge=2, le=3600)] = 30
    token_formats: dict[str, Literal["jwt", "opaque"]] = {}
    authorization_details: dict[str, DetailText] = {}

    # People
    sign_in_methods: tuple[Literal["password", "passkey", "identity"], ...] = (
        "password",
        "passkey",
        "identity",
    )
    second_factors: tuple[Literal["passkey", "totp", "recovery_code", "email_code"], ...] = (
        "passkey",
        "totp",
        "recovery_code",
        "email_code",
    )
    second_factor_required: Literal["never", "administrators", "always"] = "never"
    second_factor_trusted: Annotated[int, msgspec.Meta(ge=0, le=400 * DAY)] = 30 * DAY
    sign_up: Literal["invited", "open"] = "invited"
    console: bool = True
    breach_list: str | None = None
    place_database: str | None = None
    upstream: tuple[Upstream, ...] = ()
    smtp_url: str | None = None
    mail_from: str | None = None
    session_idle: Seconds = 12 * 3600
    session_lifetime: Seconds = 7 * DAY
    session_remembered: Seconds = 30 * DAY

    # OAuth
    authorization_code_lifetime: Annotated[int, msgspec.Meta(ge=1, le=60)] = 60
    refresh_token_idle: Seconds = 30 * DAY
    refresh_token_lifetime: Seconds = 180 * DAY
    refresh_token_grace: Annotated[int, msgspec.Meta(ge=0, le=60)] = 10
    pushed_request_lifetime: Annotated[int, msgspec.Meta(ge=5, le=600)] = 60
    dpop_nonce: Literal["off", "required"] = "off"
    device_code_lifetime: Annotated[int, msgspec.Meta(ge=60, le=1800)] = 600
    device_poll_interval: Annotated[int, msgspec.Meta(ge=1, le=60)] = 5
    fetch_allow_loopback: bool = False
    revocation_streams: Annotated[int, msgspec.Meta(ge=0, le=10_000)] = 500
    private_schemes: tuple[str, ...] = ("cursor",)

    # Clients that nobody registered by hand: by metadata document, or by dynamic registration
    client_documents: bool = True
    client_document_hosts: tuple[str, ...] = ()
    self_registered_scopes: tuple[str, ...] = ("openid", "profile", "email", "offline_access")
    self_registered_grants: tuple[
        Literal["authorization_code", "refresh_token", "client_credentials", "device_code"], ...
    ] = ("authorization_code", "refresh_token")
    self_registered_resources: tuple[str, ...] = ()
    self_registered_authorization_details: tuple[str, ...] = ()
    self_registered_pkce: bool = True
    self_registered_unused: Seconds = 30 * DAY
    registration: Literal["off", "token", "open"] = "off"
    registrations_per_hour: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 1000

    # Operation
    anonymous_per_minute: Annotated[int, msgspec.Meta(ge=10, le=1_000_000)] = 600
    log_format: Literal["json", "console"] = "json"
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    tracing: bool = False
    jobs: bool = True

    @property
    def secure(self) -> bool:
        """Whether people and clients reach the server over TLS."""
        return self.issuer.startswith("https://")

    @property
    def asks_for_certificates(self) -> bool:
        """Whether the server itself asks for clients' certificates in the handshake (RFC 8705)."""
        return bool(self.tls_client_ca) or self.tls_client_self_signed

    @property
    def takes_certificates(self) -> bool:
        """Whether a client's certificate can reach the server at all, in its own handshake or in a proxy's header."""
        return self.asks_for_certificates or bool(self.client_certificate_header)

    @property
    def mails(self) -> bool:
        """Whether mail can be sent, or is shown in its place (development)."""
        return self.smtp_url is not None or self.mode == "development"

    @property
    def resource(self) -> str:
        """The audience of tokens for which no resource was named."""
        return self.default_resource or self.issuer

    @property
    def lets_api_tokens_live_for_ever(self) -> bool:
        """Whether an API token may be made without an expiry: as said, or else where the longest lifetime was not lowered."""
        if self.api_token_allow_never is None:
            return self.api_token_max_lifetime >= LONGEST_API_TOKEN
        return self.api_token_allow_never

    @property
    def apis(self) -> tuple[str, ...]:
        """The audiences that tokens can be for, that of those for which none is named first."""
        return tuple(dict.fromkeys((self.resource, *self.resources)))

    @property
    def is_postgres(self) -> bool:
        """Whether the database option names a PostgreSQL server."""
        return is_postgres(self.database)

    @property
    def database_shown(self) -> str:
        """The database as it may be printed: the file, or the server and its database without user, password and options."""
        return plain_address(self.database) if self.is_postgres else self.database


def is_postgres(address: str) -> bool:
    """Whether the address of a database names a PostgreSQL server, and no file."""
    return address.startswith(("postgresql://", "postgres://"))


def plain_address(url: str) -> str:
    """Return a URL without user, password and options, so that it may be shown."""
    parts = split_hosts(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
