"""WCAG 2.2 §1.4.3: a service's own name, logo and colours, made readable whatever colour is chosen.

Owns the values an operator sets and the style sheet made from them. Knows nothing of templates.
"""

import base64
import colorsys
import re
from functools import lru_cache
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from watchword.settings import Settings, SettingsError

MIN_CONTRAST = 4.5
DARK_CONTRAST = 7.0
SURFACE_LIGHT = "#ffffff"
SURFACE_DARK = "#15191c"

_COLOUR = re.compile(r"#[0-9a-f]{6}")
_LOGO = re.compile(
    r"/[A-Za-z0-9._~/-]{1,200}|data:image/(?:svg\+xml|png|webp);base64,[A-Za-z0-9+/=]{1,200000}"
)
_ADDRESS = re.compile(r"https?://[^\s\"'<>\\]{1,500}|/[^\s\"'<>\\]{0,500}|mailto:[^\s\"'<>\\]{1,200}")
_IMAGES = {".svg": "svg+xml", ".png": "png", ".webp": "webp"}
_PATH = re.compile(r"(?:/[A-Za-z0-9._~-]{1,60}){1,8}")


class Branding(msgspec.Struct, frozen=True):
    """How the pages present the service; raises ValueError at once for a value that can't be shown safely.

    A logo is a path on this server or a `data:` image. `template_directory` may hold templates (by block), a
    `brand.css` and `locales/*.toml`.
    """

    name: str = "Watchword"
    logo: str | None = None
    logo_dark: str | None = None
    accent: str = "#0d6b5e"
    accent_dark: str | None = None
    privacy_url: str | None = None
    terms_url: str | None = None
    help_url: str | None = None
    template_directory: Path | None = None
    asset_path: str = "/assets"

    def __post_init__(self) -> None:
        if not 1 <= len(self.name) <= 80 or not self.name.isprintable():
            raise ValueError("service_name must have 1 to 80 printable characters")
        colours = {"accent_colour": self.accent, "accent_colour_dark": self.accent_dark or self.accent}
        for option, colour in colours.items():
            if not _COLOUR.fullmatch(colour):
                raise ValueError(f"{option} is written like #0d6b5e, in lower case")
        for option in ("logo", "logo_dark"):
            if (logo := getattr(self, option)) and (not _LOGO.fullmatch(logo) or logo.startswith("//")):
                raise ValueError(f"{option} is an SVG, PNG or WebP image of 150 kB at most")
        for option in ("privacy_url", "terms_url", "help_url"):
            address = getattr(self, option)
            if address and (not _ADDRESS.fullmatch(address) or address.startswith("//")):
                raise ValueError(f"{option} is an http(s) or mailto address, or a path on this server")
        if not _PATH.fullmatch(self.asset_path):
            raise ValueError("the asset path starts with a slash and doesn't end with one")


def branding_of(settings: Settings) -> Branding:
    """Return how the pages present the service; raise SettingsError for a value that can't be shown safely."""
    return _branding(
        settings.service_name,
        (settings.logo, settings.logo_dark),
        (settings.accent_colour, settings.accent_colour_dark),
        (settings.privacy_url, settings.terms_url, settings.help_url),
        settings.template_directory,
        urlsplit(settings.issuer).path + "/assets",
    )


@lru_cache(maxsize=8)
def _branding(
    name: str,
    logos: tuple[str | None, str | None],
    accents: tuple[str, str | None],
    links: tuple[str | None, str | None, str | None],
    directory: str | None,
    asset_path: str,
) -> Branding:
    try:
        return Branding(
            name=name,
            logo=_image("logo", logos[0]),
            logo_dark=_image("logo_dark", logos[1]),
            accent=accents[0],
            accent_dark=accents[1],
            privacy_url=links[0],
            terms_url=links[1],
            help_url=links[2],
            template_directory=Path(directory) if directory else None,
            asset_path=asset_path,
        )
    except ValueError as error:
        raise SettingsError(str(error)) from None


def _image(option: str, path: str | None) -> str | None:
    """Return an image file as a `data:` URL; a `data:` URL stays as it is. Raise ValueError for one that cannot be read."""
    if path is None or path.startswith("data:"):
        return path
    kind = _IMAGES.get(Path(path).suffix.lower())
    if kind is None:
        raise ValueError(f"{option} is a file whose name ends with .svg, .png or .webp")
    try:
        image = Path(path).read_bytes()
    except OSError as error:
        raise ValueError(f"{option}: cannot read {path}: {error.strerror}") from None
    return f"data:image/{kind};base64,{base64.b64encode(image).decode('ascii')}"


def stylesheet(branding: Branding) -> str:
    """Return the style sheet with the brand's colours, each darkened or lightened until it is readable."""
    light, dark = shades(branding)
    own = branding.template_directory / "brand.css" if branding.template_directory else None
    return (
        f":root {{\n{_variables(light, '#000000')}}}\n"
        f"@media (prefers-color-scheme: dark) {{\n:root {{\n{_variables(dark, '#ffffff')}}}\n}}\n"
        + (own.read_text("utf-8") if own and own.is_file() else "")
    )


def shades(branding: Branding) -> tuple[str, str]:
    """Return the accent colours of the light and of the dark scheme, as they are shown."""
    dark = branding.accent_dark or readable(branding.accent, SURFACE_DARK, DARK_CONTRAST)
    return readable(branding.accent, SURFACE_LIGHT), readable(dark, SURFACE_DARK)


def contrast(first: str, second: str) -> float:
    """Return the contrast ratio of two colours (WCAG 2.2 "contrast ratio"), from 1 to 21."""
    darker, lighter = sorted((_luminance(first), _luminance(second)))
    return (lighter + 0.05) / (darker + 0.05)


def readable(colour: str, background: str, minimum: float = MIN_CONTRAST) -> str:
    """Return the colour, made darker or lighter by as little as gives it the contrast ratio; its hue stays."""
    hue, lightness, saturation = colorsys.rgb_to_hls(*(channel / 255 for channel in _channels(colour)))
    end = 0.0 if _luminance(background) > 0.4 else 1.0
    for step in range(51):
        red, green, blue = colorsys.hls_to_rgb(hue, lightness + (end - lightness) * step / 50, saturation)
        shade = f"#{round(red * 255):02x}{round(green * 255):02x}{round(blue * 255):02x}"
        if contrast(shade, background) >= minimum:
            return shade
    return "#000000" if end == 0.0 else "#ffffff"


def ink(colour: str) -> str:
    """Return the text colour for a filled area: whichever of white and near-black can be read better."""
    return max(("#ffffff", "#06110f"), key=lambda text: contrast(text, colour))


def mix(first: str, second: str, share: float) -> str:
    """Return `first` with a share (0 to 1) of `second` mixed in."""
    pairs = zip(_channels(first), _channels(second), strict=True)
    return "#" + "".join(f"{round(one + (two - one) * share):02x}" for one, two in pairs)


def _variables(colour: str, towards: str) -> str:
    hover = mix(colour, towards, 0.12)
    hover = hover if contrast(ink(colour), hover) >= MIN_CONTRAST else colour
    return f"  --accent: {colour};\n  --accent-hover: {hover};\n  --accent-ink: {ink(colour)};\n"


def _channels(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def _luminance(colour: str) -> float:
    linear = [
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4
        for c in (n / 255 for n in _channels(colour))
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
