"""The contract between the pages and a service's own templates: its version, how a template names it, and what breaks it."""

from pathlib import Path

CONTRACT = 1
TEMPLATES = Path(__file__).parent / "templates"
DECLARATION = f"{{# watchword-pages: {CONTRACT} #}}"


class ContractError(ValueError):
    """A service's own template can't be read, or doesn't name the contract's version that it was written for."""
