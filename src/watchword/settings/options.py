"""Every option of the server: typed, defaulted, checked once at start; unknown keys fail.

Values come from the command line, then `WATCHWORD_*` variables, then `watchword.toml`; the first that names an option wins.
Nothing else in the package reads the environment or a configuration file.
"""

import difflib
import ipaddress
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

import msgspec

PREFIX = "WATCHWORD_"
# Variables of the same prefix that belong to the guard, the client, the tests or the command line itself.
FOREIGN = frozenset(
    {
        "CONFIG",
        "URL",
        "CLIENT_ID",
        "CLIENT_SECRET",
        "TOKEN",
        "AUDIENCE",
        "VECTORS",
        "REQUIRE",
        "FAULT",
        "MASTER_KEY",
        "ZERO_PASSPHRASE",
    }
)

DAY = 86_400
Seconds = Annotated[int, msgspec.Meta(ge=1, le=3650 * DAY)]


class SettingsError(ValueError):
    """An option is unknown, malformed or dangerous; the message says which and what to change."""


class Upstream(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Another provider that people may sign in with: any OpenID provider by its issuer, or GitHub."""

    name: Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9-]{0,30}$")]
    title: str
    client_id: str
    client_secret: str | None = None
    kind: Literal["openid", "github"] = "openid"
    issuer: str | None = None
    scopes: tuple[str, ...] = ("openid", "profile", "email")


class ScopeText(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a scope means to people: a sentence (or one for each language), how much it can do, and who may have it.

    A `personal` scope is one that people may give to API tokens of their own; an `optional` one may be unticked at consent.
    """

    sentence: str | dict[str, str] | None = None
    risk: Literal["low", "elevated", "high"] = "low"
    personal: bool = False
    optional: bool = False


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The checked options; durations are in seconds."""

    # Where the server is and what it is called; an empty issuer is filled in when the data is opened
    issuer: str = ""
    host: str = "127.0.0.1"
    port: Annotated[int, msgspec.Meta(ge=0, le=65535)] = 8000
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
    database_timeout: Seconds = 5

    # What it issues
    brand: str = "ww"
    signing_algorithms: tuple[Literal["ES256", "EdDSA", "RS256"], ...] = ("ES256", "EdDSA")
    signing_key_lifetime: Seconds = 90 * DAY
    signing_key_overlap: Seconds = 2 * DAY
    access_token_lifetime: Seconds = 600
    api_token_lifetime: Seconds = 90 * DAY
    api_token_max_lifetime: Seconds = 365 * DAY
    api_token_allow_never: bool = False
    token_expiry_notice: Seconds = 7 * DAY
    exposed_tokens: Literal["record", "revoke"] = "record"
    default_resource: str | None = None
    scopes: dict[str, ScopeText] = {}
    resources: dict[str, str] = {}

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
    breach_list: str | None = None
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
    device_code_lifetime: Annotated[int, msgspec.Meta(ge=60, le=1800)] = 600
    device_poll_interval: Annotated[int, msgspec.Meta(ge=1, le=60)] = 5
    fetch_allow_loopback: bool = False

    # Clients that nobody registered by hand: by metadata document, or by dynamic registration
    client_documents: bool = True
    client_document_hosts: tuple[str, ...] = ()
    self_registered_scopes: tuple[str, ...] = ("openid", "profile", "email", "offline_access")
    self_registered_grants: tuple[
        Literal["authorization_code", "refresh_token", "client_credentials", "device_code"], ...
    ] = ("authorization_code", "refresh_token")
    self_registered_resources: tuple[str, ...] = ()
    self_registered_unused: Seconds = 30 * DAY
    registration: Literal["off", "token", "open"] = "off"
    registrations_per_hour: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 200

    # Operation
    log_format: Literal["json", "console"] = "json"
    log_level: Literal["debug", "info", "warning", "error"] = "info"
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
        """Whether a client's certificate can reach the server at all, by its own handshake or by a proxy's word."""
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
    def is_postgres(self) -> bool:
        """Whether the database option names a PostgreSQL server."""
        return self.database.startswith(("postgresql://", "postgres://"))


def load(
    overrides: Mapping[str, object] | None = None,
    environ: Mapping[str, str] | None = None,
    config: str | None = None,
) -> Settings:
    """Merge file, environment and overrides (None means "not given") into checked settings; raise SettingsError."""
    environ = os.environ if environ is None else environ
    config = config or environ.get(PREFIX + "CONFIG")
    merged: dict[str, object] = {}
    merged |= _from_file(Path(config) if config else Path("watchword.toml"), required=config is not None)
    merged |= _from_environment(environ)
    merged |= {name: value for name, value in (overrides or {}).items() if value is not None}
    return check(_convert(merged))


def _convert(merged: dict[str, object]) -> Settings:
    for name in merged:
        if name not in Settings.__struct_fields__:
            raise SettingsError(f"unknown option {name!r}{_suggest(name)}")
    try:
        return msgspec.convert(merged, Settings, strict=False)
    except msgspec.ValidationError as error:
        raise SettingsError(f"an option is not valid: {error}") from None


def _suggest(name: str) -> str:
    near = difflib.get_close_matches(name, Settings.__struct_fields__, n=1)
    return f": did you mean {near[0]!r}?" if near else ""


def _from_file(path: Path, *, required: bool) -> dict[str, object]:
    if not required and not path.exists():
        return {}
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise SettingsError(f"cannot read the configuration file {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"the configuration file {path} is not valid TOML: {error}") from None


def _from_environment(environ: Mapping[str, str]) -> dict[str, object]:
    lists = {name for name, hint in Settings.__annotations__.items() if str(hint).startswith("tuple")}
    found: dict[str, object] = {}
    for variable, value in environ.items():
        name = variable.removeprefix(PREFIX)
        if name == variable or name in FOREIGN or name.startswith("GUARD_"):
            continue
        key = name.lower()
        if value[:1] in ("[", "{"):  # what is no plain list, such as `scopes`
            found[key] = _from_json(variable, value)
        else:
            found[key] = tuple(value.replace(",", " ").split()) if key in lists else value
    return found


def _from_json(variable: str, value: str) -> object:
    try:
        return msgspec.json.decode(value)
    except (msgspec.DecodeError, ValueError) as error:
        raise SettingsError(f"{variable} is not valid JSON: {error}") from None


def check(settings: Settings) -> Settings:
    """Return the settings when they are safe together; raise SettingsError otherwise."""
    if settings.issuer:
        _check_issuer(settings.issuer)
    if bool(settings.tls_cert) != bool(settings.tls_key):
        raise SettingsError("tls_cert and tls_key belong together: give both or neither")
    _check_certificates(settings)
    if not re.fullmatch(r"[a-z][a-z0-9]{1,9}", settings.brand):
        raise SettingsError("brand must be 2 to 10 lower-case letters or digits and start with a letter")
    if settings.api_token_lifetime > settings.api_token_max_lifetime:
        raise SettingsError("api_token_lifetime must not exceed api_token_max_lifetime")
    if not settings.signing_algorithms:
        raise SettingsError("signing_algorithms must name at least one algorithm")
    if reserved := [
        scope
        for scope in settings.self_registered_scopes
        if scope.startswith("watchword:") or scope == "introspect"
    ]:
        raise SettingsError(f"self_registered_scopes: {reserved[0]!r} gives power over this server")
    _check_people(settings)
    for network in settings.trusted_proxies:
        try:
            ipaddress.ip_network(network)
        except ValueError:
            raise SettingsError(f"trusted_proxies: {network!r} is not an IP address or network") from None
    return settings


def _check_certificates(settings: Settings) -> None:
    if settings.asks_for_certificates and not settings.tls_cert:
        raise SettingsError(
            "tls_client_ca and tls_client_self_signed need tls_cert: clients' certificates come over TLS"
        )
    if settings.client_certificate_header and not settings.trusted_proxies:
        raise SettingsError(
            "client_certificate_header needs trusted_proxies: from anyone else such a header proves nothing"
        )
    if settings.mtls_address is not None and not re.fullmatch(
        r"https://[A-Za-z0-9.\-\[\]:]+(?:/[A-Za-z0-9._~/-]*[A-Za-z0-9._~-])?", settings.mtls_address
    ):
        raise SettingsError("mtls_address must be an https address without a slash at its end")


def _check_people(settings: Settings) -> None:
    if bool(settings.smtp_url) != bool(settings.mail_from):
        raise SettingsError("smtp_url and mail_from belong together: give both or neither")
    if settings.smtp_url and urlsplit(settings.smtp_url).scheme not in ("smtp", "smtps"):
        raise SettingsError("smtp_url must be smtp://… (STARTTLS) or smtps://… (TLS from the start)")
    if not settings.sign_in_methods and not settings.upstream:
        raise SettingsError("sign_in_methods must leave people a way to sign in")
    if settings.sign_up == "open" and not settings.mails:
        raise SettingsError("open sign-up confirms addresses by mail: give smtp_url and mail_from")
    names = [provider.name for provider in settings.upstream]
    if len(set(names)) != len(names):
        raise SettingsError("upstream: every provider needs a name of its own")
    for provider in settings.upstream:
        if (provider.kind == "openid") != (provider.issuer is not None):
            raise SettingsError(
                f"upstream {provider.name!r}: an OpenID provider needs its issuer, GitHub has none"
            )


def with_issuer(settings: Settings, remembered: str | None = None) -> Settings:
    """Return the settings with an issuer: the one given, else the one remembered, else where the server listens."""
    if settings.issuer:
        return settings
    issuer = remembered or _default_issuer(settings)
    _check_issuer(issuer)
    return msgspec.structs.replace(settings, issuer=issuer)


def _default_issuer(settings: Settings) -> str:
    scheme = "https" if settings.tls_cert else "http"
    host = "localhost" if is_loopback(settings.host) else settings.host
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{settings.port}"


def _check_issuer(issuer: str) -> None:
    if not issuer.isascii() or any(character <= " " or character in '\\"<>' for character in issuer):
        raise SettingsError("issuer has a character that no issuer may have")
    try:
        parts = urlsplit(issuer)
        host, _port = parts.hostname, parts.port
    except ValueError:
        raise SettingsError("issuer is not a valid address") from None
    if parts.scheme not in ("https", "http") or not host:
        raise SettingsError("issuer must be an address such as https://auth.example.com")
    if parts.query or parts.fragment or "@" in parts.netloc or "?" in issuer or "#" in issuer:  # RFC 8414 §2
        raise SettingsError("issuer must have no query, fragment or user information (RFC 8414 section 2)")
    if issuer.endswith("/"):
        raise SettingsError(
            f"issuer must not end with a slash: clients compare it letter by letter; use {issuer.rstrip('/')!r}"
        )
    if parts.scheme == "http" and not is_loopback(host):
        raise SettingsError("issuer must use https unless it is on a loopback address")


def is_loopback(host: str) -> bool:
    """Whether a host name or address can only be this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_exposure(settings: Settings) -> None:
    """Refuse to serve plain HTTP where others can reach it; raise SettingsError with the ways out."""
    if settings.tls_cert or is_loopback(settings.host):
        return
    if settings.mode == "development":
        raise SettingsError(
            "development mode serves loopback addresses only: use `watchword serve` for anything else"
        )
    if not settings.behind_tls_proxy:
        raise SettingsError(
            f"refusing plain HTTP on {settings.host}: give --tls-cert and --tls-key, or --behind-tls-proxy when a proxy ends TLS"
        )
    if not settings.secure:
        raise SettingsError(
            "behind a proxy that ends TLS the issuer is an https address: give --issuer https://…"
        )
