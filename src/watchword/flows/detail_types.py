"""RFC 9396: the `authorization_details` types in the settings, as `oauth.authorization_details` takes them; and stored details."""

from collections.abc import Mapping
from typing import cast

import msgspec

from watchword.oauth.authorization_details import Detail, DetailType, Shape
from watchword.settings import DetailText, Settings
from watchword.store import documents

_decode = documents.reader(tuple[Detail, ...])
_encode = msgspec.json.Encoder(order="deterministic").encode


def of(settings: Settings) -> Mapping[str, DetailType]:
    """Return every type that the server knows."""
    return {name: _type(text) for name, text in settings.authorization_details.items()}


def _type(text: DetailText) -> DetailType:
    allowed: dict[str, frozenset[str]] = {
        member: frozenset(values) for member, values in text.allowed.items()
    }
    # The settings were checked at start: the members are valid shapes.
    return DetailType(cast(Mapping[str, Shape], text.members), frozenset(text.required), allowed)


def stored(details: tuple[Detail, ...]) -> str:
    """Return details as they are stored."""
    return _encode(details).decode()


def read(text: str) -> tuple[Detail, ...]:
    """Return stored details."""
    return _decode(text)
