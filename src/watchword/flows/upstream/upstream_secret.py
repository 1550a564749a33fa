"""The client secret of this server at a provider: the configured one, or for Apple a JWT that is signed for each sign-in.

Owns the file of Apple's key, which is checked when the server starts and read again for each sign-in, so that it can be replaced.
"""

from pathlib import Path

from watchword.credentials import upstream_apple
from watchword.credentials.upstream import UpstreamRefused
from watchword.credentials.upstream_discovery import discovery_url
from watchword.flows.runtime import Runtime
from watchword.jose.jwk import Key
from watchword.settings import Settings, SettingsError, Upstream


def check(settings: Settings) -> None:
    """Refuse to start with a provider that can never be asked, or a key of one that cannot be used; raise SettingsError."""
    for provider in settings.upstream:
        try:
            if provider.issuer is not None:
                discovery_url(provider.issuer, allow_loopback=settings.fetch_allow_loopback)
        except UpstreamRefused as error:
            raise SettingsError(
                f"upstream {provider.name!r}: issuer: {error.detail}, such as https://accounts.example.com"
            ) from None
        try:
            if provider.kind == "apple":
                _key(provider)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise SettingsError(
                f"upstream {provider.name!r}: private_key_file: {provider.private_key_file}: {reason}"
            ) from None


def of(runtime: Runtime, settings: Upstream) -> str | None:
    """Return the client secret for a provider's token endpoint, None where there is none; raise UpstreamRefused."""
    if settings.kind != "apple":
        return settings.client_secret
    try:
        key = _key(settings)
    except (OSError, ValueError) as error:
        raise UpstreamRefused("secret", f"private_key_file: {type(error).__name__}") from None
    return upstream_apple.client_secret(
        key,
        team_id=settings.team_id or "",
        client_id=settings.client_id,
        audience=settings.issuer or upstream_apple.ISSUER,
        now=runtime.now(),
    )


def _key(settings: Upstream) -> Key:
    return upstream_apple.read_key(Path(settings.private_key_file or "").read_bytes(), settings.key_id or "")
