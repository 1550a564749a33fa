"""Rules for secret scanners, generated from the token format, so that leaked credentials are found."""

from watchword.oauth import token_format

SECRET_KINDS = "aorsdung"


def rules(scanner: str, brand: str) -> str:
    """Return the rule text for "github", "gitleaks" or "trufflehog"."""
    return RULES[scanner](brand)


def _github(brand: str) -> str:
    body = f"[0-9A-Za-z]{{{token_format.BODY_LENGTH + token_format.CHECKSUM_LENGTH}}}"
    return (
        "# GitHub, custom pattern for secret scanning\n"
        f"secret format:  {brand}[{SECRET_KINDS}]_{body}\n"
        "before secret:  \\A|[^0-9A-Za-z_]\n"
        "after secret:   \\z|[^0-9A-Za-z_]\n"
        f"test string:    {example(brand)}\n"
    )


def _pattern(brand: str) -> str:
    # By whole words: these scanners do not compute the checksum.
    return rf"\b{token_format.pattern(brand, SECRET_KINDS)}\b"


def _gitleaks(brand: str) -> str:
    return (
        "[[rules]]\n"
        f'id = "{brand}-credential"\n'
        'description = "A credential issued by Watchword"\n'
        f"regex = '''{_pattern(brand)}'''\n"
        f"keywords = [{', '.join(f'{chr(34)}{brand}{kind}_{chr(34)}' for kind in SECRET_KINDS)}]\n"
    )


def _trufflehog(brand: str) -> str:
    return (
        "detectors:\n"
        f"  - name: {brand}-credential\n"
        "    keywords:\n" + "".join(f"      - {brand}{kind}_\n" for kind in SECRET_KINDS) + "    regex:\n"
        f"      credential: '{_pattern(brand)}'\n"
    )


def example(brand: str) -> str:
    """Return a well-formed credential that no server ever issued: thirty zeros and their checksum."""
    body = "0" * token_format.BODY_LENGTH
    return f"{brand}a_{body}{token_format.checksum(body)}"


RULES = {"github": _github, "gitleaks": _gitleaks, "trufflehog": _trufflehog}
