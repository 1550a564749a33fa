"""Jinja: where templates are found and how they are read; a module of its own so that only servers that show pages load it."""

from collections.abc import Callable
from pathlib import Path

from jinja2 import (
    BaseLoader,
    ChoiceLoader,
    Environment,
    FileSystemLoader,
    PrefixLoader,
    StrictUndefined,
    select_autoescape,
)

from watchword.pages.render import DECLARATION, TEMPLATES, ContractError


class OwnTemplates(FileSystemLoader):
    """A service's own templates; each declares the version of the contract in its first line."""

    def get_source(self, environment: Environment, template: str) -> tuple[str, str, Callable[[], bool]]:
        source, path, fresh = super().get_source(environment, template)
        if not source.lstrip("\ufeff").startswith(DECLARATION):
            raise ContractError(f"{template}: the first line of an own template is {DECLARATION}")
        return source, path, fresh


def make(own: Path | None) -> Environment:
    """Return the environment of a service, with the directory of its own templates if it has one."""
    packaged = FileSystemLoader(TEMPLATES)
    loaders: list[BaseLoader] = [packaged, PrefixLoader({"watchword": packaged})]
    if own is not None:
        loaders.insert(0, OwnTemplates(own))
    return Environment(
        loader=ChoiceLoader(loaders),
        autoescape=select_autoescape(disabled_extensions=("txt",), default=True, default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        auto_reload=False,
    )
