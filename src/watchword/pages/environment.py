"""Jinja: where templates are found and how they are read; a module of its own so that only servers that show pages load it."""

import difflib
from collections.abc import Callable, Iterator
from pathlib import Path

from jinja2 import (
    BaseLoader,
    ChoiceLoader,
    Environment,
    FileSystemLoader,
    PrefixLoader,
    StrictUndefined,
    TemplateNotFound,
    nodes,
    select_autoescape,
)

from watchword.pages.contract import DECLARATION, TEMPLATES, ContractError


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


def check_blocks(environment: Environment, template: str) -> None:
    """Raise ContractError for a block of a template that nothing which it extends has: it would be shown nowhere."""
    tree = _tree(environment, template)
    known = _inherited(environment, template, tree)
    for name in _outermost(tree) if known else ():
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            suggestion = f": did you mean {near[0]!r}?" if near else ""
            raise ContractError(f"{template}: what it extends has no block {name!r}{suggestion}")


def _inherited(environment: Environment, template: str, tree: nodes.Template) -> set[str]:
    """Return the blocks of everything that a template extends; none where it extends nothing, or what only a page decides."""
    found: set[str] = set()
    seen = {template}
    while (extends := next(tree.find_all(nodes.Extends), None)) is not None:
        if not isinstance(extends.template, nodes.Const):
            return set()
        name = str(extends.template.value)
        if name in seen:
            raise ContractError(f"{template}: it extends itself; the one of the package is watchword/{name}")
        seen.add(name)
        try:
            tree = _tree(environment, name)
        except TemplateNotFound:
            raise ContractError(f"{template}: there is no template {name!r} to extend") from None
        found |= {block.name for block in tree.find_all(nodes.Block)}
    return found


def _tree(environment: Environment, template: str) -> nodes.Template:
    assert environment.loader is not None
    source, _, _ = environment.loader.get_source(environment, template)
    return environment.parse(source, template)


def _outermost(node: nodes.Node) -> Iterator[str]:
    """Yield the blocks within no other: one within another is shown where that is."""
    for child in node.iter_child_nodes():
        if isinstance(child, nodes.Block):
            yield child.name
        else:
            yield from _outermost(child)
