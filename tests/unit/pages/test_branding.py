"""A service's own look: readable whatever it chooses, safe whatever it is given, and its own templates by block."""

import colorsys
from pathlib import Path

import pytest
from tests.fixtures.rows import in_turn
from tests.unit.pages.gallery import PAGES

from watchword.pages import assets, contract, render
from watchword.pages.branding import (
    MIN_CONTRAST,
    SURFACE_DARK,
    SURFACE_LIGHT,
    Branding,
    contrast,
    ink,
    readable,
    stylesheet,
)

HUES = [colorsys.hls_to_rgb(hue / 12, light, 1.0) for hue in range(12) for light in (0.1, 0.5, 0.9)]
COLOURS = [f"#{round(r * 255):02x}{round(g * 255):02x}{round(b * 255):02x}" for r, g, b in HUES] + [
    "#000000",
    "#ffffff",
    "#777777",
]


def page(branding: Branding) -> str:
    return render.render("sign_in", PAGES["sign_in"], locale="en", branding=branding)


@in_turn("colour", COLOURS)
def test_any_accent_becomes_readable_as_text_and_as_a_button(colour: str) -> None:
    for surface in (SURFACE_LIGHT, SURFACE_DARK):
        shade = readable(colour, surface)
        assert contrast(shade, surface) >= MIN_CONTRAST
        assert contrast(ink(shade), shade) >= MIN_CONTRAST


def test_a_readable_accent_stays_as_it_is() -> None:
    assert readable("#0d6b5e", SURFACE_LIGHT) == "#0d6b5e"


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param({"name": ""}, id="a service has a name"),
        pytest.param({"name": "A\nB"}, id="a name is one line"),
        pytest.param({"accent": "red"}, id="a colour is written in hex"),
        pytest.param({"accent": "#fff;}body{display:none"}, id="a colour adds no rules"),
        pytest.param({"accent_dark": "#FFF"}, id="a dark colour is checked too"),
        pytest.param({"logo": "https://cdn.example/logo.png"}, id="a logo comes from nowhere else"),
        pytest.param({"logo": "//cdn.example/logo.png"}, id="a logo without a scheme is elsewhere too"),
        pytest.param({"logo": "data:text/html;base64,PHNjcmlwdD4="}, id="a logo is an image"),
        pytest.param({"help_url": "javascript:alert(1)"}, id="a link runs nothing"),
        pytest.param({"privacy_url": "//evil.example"}, id="a link says where it leads"),
        pytest.param({"asset_path": "https://cdn.example"}, id="assets are served from here"),
    ],
)
def test_a_value_that_cannot_be_shown_safely_is_refused_at_start(wrong: dict[str, str]) -> None:
    with pytest.raises(ValueError):
        Branding(**wrong)  # type: ignore[arg-type]  # the values are texts all


def test_name_logo_colours_and_links_are_shown() -> None:
    branding = Branding(
        name="Northwind",
        logo="/logo.svg",
        logo_dark="/logo-dark.svg",
        accent="#7a1fa2",
        help_url="mailto:help@nw.example",
    )
    html = page(branding)
    assert all(
        text in html for text in ("Northwind", 'src="/logo.svg"', "/logo-dark.svg", "mailto:help@nw.example")
    )
    assert "#7a1fa2" in stylesheet(branding)


def test_an_asset_changes_its_address_with_its_content() -> None:
    one, other = Branding(), Branding(accent="#7a1fa2")
    assert assets.address("brand.css", one) != assets.address("brand.css", other)
    assert assets.address("watchword.js", one) == assets.address("watchword.js", other)


@pytest.mark.parametrize(
    "name", ["", "../render.py", "/etc/passwd", "watchword.css\x00", "mark.svg/..", "WATCHWORD.CSS"]
)
def test_only_the_known_assets_exist(name: str) -> None:
    assert assets.find("watchword.css", Branding()) is not None
    assert assets.find(name, Branding()) is None


def test_an_own_template_replaces_one_block_and_keeps_the_rest(tmp_path: Path) -> None:
    own = '{% extends "watchword/sign_in.html" %}{% block heading %}Welcome aboard{% endblock %}'
    (tmp_path / "sign_in.html").write_text(f"{contract.DECLARATION}\n{own}", "utf-8")
    (tmp_path / "brand.css").write_text(".card { border-radius: 0; }", "utf-8")
    (tmp_path / "locales").mkdir()
    (tmp_path / "locales" / "en.toml").write_text('[sign_in]\ncontinue = "Go"\n', "utf-8")
    branding = Branding(template_directory=tmp_path)
    render.check_own_templates(branding)
    html = page(branding)
    assert "<h1>Welcome aboard</h1>" in html
    assert 'autocomplete="username webauthn"' in html
    assert "<span>Go</span>" in html
    assert ".card { border-radius: 0; }" in stylesheet(branding)


def test_an_own_frame_reaches_every_page(tmp_path: Path) -> None:
    own = '{% extends "watchword/layout.html" %}{% block footer %}<footer>Northwind AB</footer>{% endblock %}'
    (tmp_path / "layout.html").write_text(f"{contract.DECLARATION}\n{own}", "utf-8")
    assert "Northwind AB" in page(Branding(template_directory=tmp_path))


@pytest.mark.parametrize("first", ["", "{# watchword-pages: 0 #}", "{# watchword-pages: 2 #}"])
def test_an_own_template_for_another_version_of_the_contract_is_refused_at_start(
    tmp_path: Path, first: str
) -> None:
    (tmp_path / "sign_in.html").write_text(f'{first}\n{{% extends "watchword/sign_in.html" %}}', "utf-8")
    with pytest.raises(contract.ContractError):
        render.check_own_templates(Branding(template_directory=tmp_path))


def test_a_block_of_ones_own_is_within_one_that_the_original_has(tmp_path: Path) -> None:
    frame = '{% extends "watchword/layout.html" %}{% block footer %}{% block office %}x{% endblock %}{% endblock %}'
    (tmp_path / "layout.html").write_text(f"{contract.DECLARATION}\n{frame}", "utf-8")
    page_of_its_own = '{% extends "watchword/sign_in.html" %}{% block office %}Oslo{% endblock %}'
    (tmp_path / "sign_in.html").write_text(f"{contract.DECLARATION}\n{page_of_its_own}", "utf-8")
    render.check_own_templates(Branding(template_directory=tmp_path))
    slip = page_of_its_own.replace("office", "ofice")
    (tmp_path / "sign_in.html").write_text(f"{contract.DECLARATION}\n{slip}", "utf-8")
    with pytest.raises(
        contract.ContractError, match=r"sign_in.html: .* no block 'ofice': did you mean 'office'\?"
    ):
        render.check_own_templates(Branding(template_directory=tmp_path))


def test_a_text_that_nothing_shows_is_told(tmp_path: Path) -> None:
    own = f'{contract.DECLARATION}{{% extends "watchword/sign_in.html" %}}{{% block below %}}{{{{ t("sign_in.tour") }}}}{{{{ t("tour." ~ name) }}}}{{% endblock %}}'
    (tmp_path / "sign_in.html").write_text(own, "utf-8")
    (tmp_path / "locales").mkdir()
    texts = '[sign_in]\ntitle="a"\ntour = "b"\ntilte = "c"\n[tour]\nshort="d"\n[scope]\n"orders:read" = "e"\n[sing_in]\nlead="f"\n'
    (tmp_path / "locales" / "en.toml").write_text(texts, "utf-8")
    assert render.unknown_texts(Branding(template_directory=tmp_path)) == [
        "en.toml: nothing shows 'sign_in.tilte': did you mean 'sign_in.title'?",
        "en.toml: nothing shows 'sing_in.lead': did you mean 'sign_in.lead'?",
    ]
    assert render.unknown_texts(Branding()) == []
