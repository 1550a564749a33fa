"""Whether options are safe together, and what the issuer is when none was given: checked once, at start."""

import re
from urllib.parse import parse_qs, urlsplit

import msgspec

from watchword.networks import is_loopback, read_network, split_hosts
from watchword.settings.options import Settings, SettingsError, Upstream, is_postgres

_ABSOLUTE_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[!$-;=?-Z_a-z~%\[\]@&'()*+,]{1,1900}")

# What the pages' own addresses can begin with, `/assets` among them.
_PATH = re.compile(r"(?:/(?!\.{1,2}(?:/|\Z))[A-Za-z0-9._~-]{1,60}){0,7}")
# Schemes that a browser answers itself, with a script or a file for example, instead of starting a program.
_BROWSERS_OWN = re.compile(
    "https?|wss?|ftp|file|filesystem|data|blob|about|javascript|vbscript|view-source|chrome|intent"
)
_HOST_NAME = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?")
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")  # RFC 9110 §5.6.2
_ATOM = r"[!#$%&'*+/=?^_`{|}~A-Za-z0-9-]+"
_MAILBOX = rf"{_ATOM}(?:\.{_ATOM})*@(?:[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*|\[[0-9A-Za-z:.]+\])"
_PHRASE = r"""(?! *\.)[^<>()\[\]@,;:"\\]*(?<!\.)"""
_SENDER = re.compile(rf'(?:"[^"\\]*" *|{_PHRASE})<{_MAILBOX}>|{_MAILBOX}')  # RFC 5322 §3.4

_HOST = re.compile(r"(\[[^\]]*\]|[^:\[\]]*)(:[0-9]*)?")


def is_resource(text: str) -> bool:
    """Whether a text can be a resource indicator (RFC 8707 §2): an absolute URI without a fragment, with a host if it is http(s)."""
    if not _ABSOLUTE_URI.fullmatch(text):
        return False
    try:
        parts = urlsplit(text)
        return bool(parts.hostname) and parts.port != 0 if parts.scheme in ("http", "https") else True
    except ValueError:  # an unclosed bracket, an invalid port
        return False


def check(settings: Settings) -> Settings:
    """Return the settings when they are safe together; raise SettingsError otherwise."""
    if settings.issuer:
        _check_issuer(settings.issuer)
    if not settings.host:
        raise SettingsError("host is empty: name the address to listen on, such as 127.0.0.1 or 0.0.0.0")
    if not settings.database or ("://" in settings.database and not settings.is_postgres):
        raise SettingsError(
            "database is the path of an SQLite file (or sqlite:///path), or postgresql://user@host/name"
        )
    if settings.is_postgres:
        _check_address("database", settings.database)
    # The driver would connect to this machine instead.
    if settings.is_postgres and _lacks_a_host(settings.database):
        raise SettingsError("database has no host name before, between or after its commas")
    if bool(settings.tls_cert) != bool(settings.tls_key):
        raise SettingsError("tls_cert and tls_key belong together: give both or neither")
    _check_certificates(settings)
    if not re.fullmatch(r"[a-z][a-z0-9]{1,9}", settings.brand):
        raise SettingsError("brand must be 2 to 10 lower-case letters or digits and start with a letter")
    if settings.database_replica and not (settings.is_postgres and is_postgres(settings.database_replica)):
        raise SettingsError("database_replica names a standby of the PostgreSQL server that database names")
    if settings.database_replica:
        _check_address("database_replica", settings.database_replica)
    if settings.api_token_lifetime > settings.api_token_max_lifetime:
        raise SettingsError("api_token_lifetime must not exceed api_token_max_lifetime")
    if not settings.signing_algorithms:
        raise SettingsError("signing_algorithms must name at least one algorithm")
    if reserved := [
        scope
        for scope in settings.self_registered_scopes
        if scope.startswith("watchword:") or scope == "introspect"
    ]:
        raise SettingsError(
            f"self_registered_scopes: {reserved[0]!r} is a scope over this server, which such clients cannot have"
        )
    _check_scopes(settings)
    _check_resources(settings)
    _check_people(settings)
    _check_details(settings)
    _check_networks("trusted_proxies", settings.trusted_proxies)
    _check_hosts("client_document_hosts", settings.client_document_hosts)
    _check_schemes(settings)
    if settings.device_poll_interval >= settings.device_code_lifetime:
        raise SettingsError(
            "device_poll_interval must be shorter than device_code_lifetime: otherwise a code expires before the second poll"
        )
    return settings


def _check_schemes(settings: Settings) -> None:
    for scheme in settings.private_schemes:
        if _BROWSERS_OWN.fullmatch(scheme) or not re.fullmatch(r"[a-z][a-z0-9+-]{0,60}", scheme):
            raise SettingsError(
                f"private_schemes: {scheme!r} is not a scheme of a program, such as cursor, in lower case and without a colon"
            )


def _check_scopes(settings: Settings) -> None:
    named = {"scopes": settings.scopes, "self_registered_scopes": settings.self_registered_scopes}
    for option, scopes in named.items():
        for scope in scopes:
            if not re.fullmatch(r"[\x21\x23-\x5b\x5d-\x7e]+", scope):  # RFC 6749 §3.3
                raise SettingsError(
                    f"{option}: {scope!r} is not a valid scope: use no spaces, quotes, backslashes or characters beyond ASCII"
                )


def _check_resources(settings: Settings) -> None:
    named = {
        "default_resource": [settings.default_resource] if settings.default_resource else [],
        "resources": settings.resources,
        "status_lists": settings.status_lists,
        "token_formats": settings.token_formats,
        "self_registered_resources": settings.self_registered_resources,
    }
    for option, resources in named.items():
        for resource in resources:
            if not is_resource(resource):
                raise SettingsError(
                    f"{option}: {resource!r} is not an absolute URI without a fragment, such as https://api.example.com"
                )


def _check_hosts(name: str, hosts: tuple[str, ...]) -> None:
    for host in hosts:
        if not _HOST_NAME.fullmatch(host):
            raise SettingsError(
                f"{name}: {host!r} is not the name of a host: write it in lower case, without a port, such as apps.example.com"
            )


def _check_networks(name: str, networks: tuple[str, ...]) -> None:
    for given in networks:
        try:
            network = read_network(given)
        except ValueError:
            raise SettingsError(f"{name}: {given!r} is not an IP address or network") from None
        if network.version == 4 and ":" in given:  # no address is compared with it in this form
            raise SettingsError(f"{name}: {given!r} is an IPv4 network: write {network}")


SHAPES = ("string", "integer", "number", "boolean")


def _check_details(settings: Settings) -> None:
    for name, known in settings.authorization_details.items():
        for member, shape in known.members.items():
            if not _is_shape(shape):
                raise SettingsError(
                    f"authorization_details.{name}.members.{member} must be one of {', '.join(SHAPES)}, "
                    "a list of one of them, or a table of members"
                )
        if missing := set(known.required) - known.members.keys() - set(known.allowed):
            raise SettingsError(
                f"authorization_details.{name}.required names {min(missing)!r}, which is not one of its members"
            )
    unknown = set(settings.self_registered_authorization_details) - settings.authorization_details.keys()
    if unknown:
        raise SettingsError(
            f"self_registered_authorization_details names {min(unknown)!r}, which is not in authorization_details"
        )


def _is_shape(shape: object) -> bool:
    if isinstance(shape, list):
        return len(shape) == 1 and _is_shape(shape[0])
    if isinstance(shape, dict):
        return all(_is_shape(one) for one in shape.values())
    return shape in SHAPES


def _check_certificates(settings: Settings) -> None:
    if settings.asks_for_certificates and not settings.tls_cert:
        raise SettingsError(
            "tls_client_ca and tls_client_self_signed need tls_cert: clients' certificates come over TLS"
        )
    if settings.client_certificate_header and not settings.trusted_proxies:
        raise SettingsError(
            "client_certificate_header needs trusted_proxies: such a header proves nothing if it comes from anyone else"
        )
    if settings.client_certificate_verified_header and not settings.client_certificate_header:
        raise SettingsError("client_certificate_verified_header needs client_certificate_header")
    for name in ("client_certificate_header", "client_certificate_verified_header"):
        if (header := getattr(settings, name)) and not _HEADER.fullmatch(header):
            raise SettingsError(f"{name} is the name of a header, such as X-Client-Cert")
    if settings.mtls_address is not None and not (
        re.fullmatch(
            r"https://[A-Za-z0-9.\-\[\]:]+(?:/[A-Za-z0-9._~/-]*[A-Za-z0-9._~-])?", settings.mtls_address
        )
        and is_resource(settings.mtls_address)
    ):
        raise SettingsError("mtls_address must be an https address without a slash at its end")


def _check_people(settings: Settings) -> None:
    if settings.smtp_url:
        _check_mail_server(settings.smtp_url)
    if bool(settings.smtp_url) != bool(settings.mail_from):
        raise SettingsError("smtp_url and mail_from belong together: give both or neither")
    sender = settings.mail_from
    if sender and not (_SENDER.fullmatch(sender) and sender.isprintable()):
        raise SettingsError(
            "mail_from is one address in ASCII, such as auth@example.com or Example <auth@example.com>"
        )
    if not settings.sign_in_methods and not settings.upstream:
        raise SettingsError("sign_in_methods must leave people a way to sign in")
    names = [provider.name for provider in settings.upstream]
    if len(set(names)) != len(names):
        raise SettingsError("upstream: every provider needs a different name")
    for provider in settings.upstream:
        _check_provider(provider)


def _check_provider(provider: Upstream) -> None:
    where = f"upstream {provider.name!r}"
    if provider.name == "link":  # /upstream/link is where an account is proved before it is linked
        raise SettingsError(f"{where}: a page of the server uses this name: choose another")
    if (provider.kind == "openid") != (provider.issuer is not None):
        raise SettingsError(f"{where}: give an issuer for an OpenID provider, and none for GitHub or Apple")
    apple = (provider.team_id, provider.key_id, provider.private_key_file)
    if provider.kind == "apple" and (not all(apple) or provider.client_secret is not None):
        raise SettingsError(
            f"{where}: Apple needs team_id, key_id and private_key_file, and no client_secret"
        )
    if provider.kind != "apple" and any(apple):
        raise SettingsError(f'{where}: team_id, key_id and private_key_file are for kind = "apple"')
    if provider.kind == "openid" and "openid" not in provider.scopes:  # Core §3.1.2.1
        raise SettingsError(f"{where}: scopes must include openid")
    if provider.kind == "github" and provider.response_mode != "query":
        raise SettingsError(f"{where}: GitHub does not support response_mode: leave it out")
    if provider.kind == "github" and provider.tells_auth_time:
        raise SettingsError(f"{where}: GitHub does not report auth_time: leave tells_auth_time out")
    _check_networks(f"{where}: networks", provider.networks)
    _check_hosts(f"{where}: hosts", provider.hosts)


def _check_mail_server(address: str) -> None:
    _check_address("smtp_url", address)
    parts = urlsplit(address)
    if parts.scheme not in ("smtp", "smtps") or (parts.path and not parts.netloc):
        raise SettingsError("smtp_url must be smtp://… (STARTTLS) or smtps://… (TLS from the start)")
    host, port = parts.hostname, parts.netloc.rpartition("@")[2].rpartition("]")[2].partition(":")[2]
    if not host or "," in parts.netloc.rpartition("@")[2]:
        raise SettingsError("smtp_url names one host, such as smtp://mail.example.com:587")
    if port and not (len(port) <= 5 and 0 < int(port) < 65536):
        raise SettingsError("smtp_url: a port is a number from 1 to 65535")


def _check_address(option: str, address: str) -> None:
    """Refuse an address whose password has unescaped characters: a part of it would be taken for the host, resolved and shown."""
    # With several `@`, the database driver ends the password at the first, others at the last.
    if _is_torn(address) or (option != "smtp_url" and split_hosts(address).netloc.count("@") > 1):
        raise SettingsError(
            f"{option} cannot be read as an address: in its user and password write / as %2F, ? as %3F, # as %23, "
            "& as %26, @ as %40, [ as %5B and ] as %5D"
        )


def _is_torn(address: str) -> bool:
    try:
        parts = split_hosts(address)
    except ValueError:  # an unclosed bracket
        return True
    hosts, fields = parts.netloc.rpartition("@")[2], parts.query.split("&") if parts.query else []
    return (
        "@" in parts.path + parts.fragment
        or any("=" not in field or "@" in field.partition("=")[0] for field in fields)
        or not all(_HOST.fullmatch(host) for host in hosts.split(","))
    )


def _lacks_a_host(address: str) -> bool:
    place, _, query = address.partition("://")[2].partition("?")
    named = [place.partition("/")[0].rpartition("@")[2], *parse_qs(query).get("host", [])]
    several = [one for hosts in named if "," in hosts for one in hosts.split(",")]
    return any(not one or one.startswith(":") for one in several)


def with_issuer(settings: Settings, remembered: str | None = None) -> Settings:
    """Return the settings with an issuer: the configured one, else the one remembered, else the address that the server listens on."""
    if settings.issuer:
        return settings
    issuer = remembered or _default_issuer(settings)
    _check_issuer(issuer)
    return msgspec.structs.replace(settings, issuer=issuer)


def _default_issuer(settings: Settings) -> str:
    scheme = "https" if settings.tls_cert else "http"
    host = "localhost" if is_loopback(settings.host) else settings.host
    return _origin(scheme, host.lower(), settings.port)


def _origin(scheme: str, host: str, port: int | None) -> str:
    """Return an origin as browsers write it (HTML, "serialization of an origin"): without the default port."""
    named = "" if port in (None, {"https": 443, "http": 80}[scheme]) else f":{port}"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}{named}"


def _check_issuer(issuer: str) -> None:
    if not issuer.isascii() or any(character <= " " or character in '\\"<>' for character in issuer):
        raise SettingsError("issuer has a character that is not allowed in an issuer")
    try:
        parts = urlsplit(issuer)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise SettingsError("issuer is not a valid address") from None
    if port == 0:
        raise SettingsError("issuer is not a valid address")
    if parts.scheme not in ("https", "http") or not host:
        raise SettingsError("issuer must be an address such as https://auth.example.com")
    if parts.query or parts.fragment or "@" in parts.netloc or "?" in issuer or "#" in issuer:  # RFC 8414 §2
        raise SettingsError("issuer must have no query, fragment or user information (RFC 8414 section 2)")
    if issuer.endswith("/"):
        raise SettingsError(
            f"issuer must not end with a slash: clients compare it character by character; use {issuer.rstrip('/')!r}"
        )
    # Browsers and clients resolve `..`, and an escape can be written in two ways.
    if not _PATH.fullmatch(parts.path):
        raise SettingsError(
            "issuer: its path may have up to seven parts, each of 1 to 60 letters, digits, - . _ ~, and not . or .."
        )
    if issuer != (plain := _origin(parts.scheme, host, port) + parts.path):
        # Otherwise no browser's Origin header would match the server's own pages, and `HTTPS://` would not count as TLS.
        raise SettingsError(
            f"issuer must be written as browsers write it, in lower case and without the default port; use {plain!r}"
        )
    if parts.scheme == "http" and not is_loopback(host):
        raise SettingsError("issuer must use https unless it is on a loopback address")


def check_exposure(settings: Settings) -> None:
    """Raise SettingsError, which says what to do, for plain HTTP where others can reach it, or for open sign-up without mail."""
    if settings.sign_up == "open" and not settings.mails:
        raise SettingsError("open sign-up confirms addresses by mail: give smtp_url and mail_from")
    # Recovery codes only accompany another factor.
    set_up = {"passkey", "totp", *(("email_code",) if settings.mails else ())}
    if settings.second_factor_required != "never" and set_up.isdisjoint(settings.second_factors):
        raise SettingsError(
            "second_factor_required needs a factor that people can set up: add passkey, totp, or email_code with smtp_url to second_factors"
        )
    if settings.tls_cert or is_loopback(settings.host):
        return
    if settings.mode == "development":
        raise SettingsError(
            "development mode serves loopback addresses only: use `watchword serve` for anything else"
        )
    if not settings.behind_tls_proxy:
        raise SettingsError(
            f"refusing plain HTTP on {settings.host}: give --tls-cert and --tls-key, or --behind-tls-proxy if a proxy terminates TLS"
        )
    if not settings.secure:
        raise SettingsError(
            "behind a proxy that terminates TLS the issuer is an https address: give --issuer https://…"
        )
