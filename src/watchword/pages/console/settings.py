"""The console's settings: what is set otherwise than by default, without any secret, and how the pages look.

They come from the command line, the environment and a file, so nothing is changed here.
"""

import msgspec

from watchword import __version__
from watchword.http import Request, Response
from watchword.pages import branding
from watchword.pages.branding import SURFACE_DARK, SURFACE_LIGHT, Branding
from watchword.pages.console import frame
from watchword.settings import Settings, plain_address

# What other sections show.
ELSEWHERE = frozenset({"scopes", "resources", "authorization_details"})

_DEFAULTS = Settings()
_encode = msgspec.json.Encoder().encode


async def show(request: Request) -> Response:
    """Show the settings in force."""
    found = await frame.require(request)
    settings = request.runtime.settings
    looks = branding.branding_of(settings)
    options = _options(settings)
    context = {
        "version": __version__,
        "changed": [option for option in options if not option["default"]],
        "others": [option for option in options if option["default"]],
        "looks": {
            "name": looks.name,
            "logos": [one for one in (looks.logo, looks.logo_dark) if one],
            "colours": _colours(looks),
            "own_templates": looks.template_directory is not None,
        },
        "scopes_url": frame.address(request, "scopes"),
    }
    return frame.page(request, found, "settings", context)


def _options(settings: Settings) -> list[dict[str, object]]:
    """Return every option that is shown here, as {name, value, default}."""
    return [
        {
            "name": name,
            "value": shown(getattr(settings, name)),
            "default": getattr(settings, name) == getattr(_DEFAULTS, name),
        }
        for name in Settings.__struct_fields__
        if name not in ELSEWHERE
    ]


def shown(value: object) -> str:
    """Return an option's value as text, without a secret: of an address neither user, password nor options, of a table its names."""
    if value is None or value == "":
        return ""
    if isinstance(value, str):
        if value.startswith("data:"):  # an image, which is shown as such
            return value.partition(",")[0]
        return plain_address(value) if "://" in value else value
    if isinstance(value, dict):
        return ", ".join(value)
    if isinstance(value, tuple):
        return ", ".join(str(getattr(one, "name", one)) for one in value)
    return _encode(value).decode()


def _colours(looks: Branding) -> list[dict[str, object]]:
    """Return the colour of each scheme as it is shown, with its contrast to the background."""
    light, dark = branding.shades(looks)
    return [
        {
            "scheme": scheme,
            "colour": colour,
            "background": surface,
            "contrast": round(branding.contrast(colour, surface), 1),
        }
        for scheme, colour, surface in (("light", light, SURFACE_LIGHT), ("dark", dark, SURFACE_DARK))
    ]
