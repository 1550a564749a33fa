"""ISO/IEC 18004: a QR code as an image address that a strict policy allows."""


def qr_image(text: str) -> str:
    """Return a `data:` SVG of a text's QR code; raises ValueError when the text is too long for one."""
    import segno  # only with the first code shown: it loads an XML library

    code = segno.make(text, error="m", micro=False)
    return code.svg_data_uri(scale=1, border=4, dark="#0b0f12", light="#ffffff", omitsize=True)
