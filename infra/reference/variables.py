"""Which parameters of the stack become which variables of its functions."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import yaml

from infra.reference.sources import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

AUTHORIZERS: Final = ("Authorizer", "SharedAuthorizer")


class _Loader(yaml.SafeLoader):
    """YAML in which a function of CloudFormation is a mapping of its tag to its argument."""


def _function(loader: _Loader, suffix: str, node: yaml.Node) -> dict[str, Any]:
    if isinstance(node, yaml.ScalarNode):
        return {suffix: loader.construct_scalar(node)}
    assert isinstance(node, yaml.SequenceNode)  # noqa: S101 - what else the template has none of
    return {suffix: loader.construct_sequence(node, deep=True)}


_Loader.add_multi_constructor("!", _function)


def parameters_behind(functions: Sequence[str]) -> Mapping[str, tuple[str, ...]]:
    """Return, for each variable that one of the functions gets, the parameters that decide on it.

    In the template's order. There are none behind what the template says by itself.
    """
    text = (ROOT / "template.yaml").read_text(encoding="utf-8")
    document = yaml.load(text, _Loader)  # noqa: S506 - a SafeLoader
    shared = document["Globals"]["Function"]["Environment"]["Variables"]
    found: dict[str, set[str]] = {}
    for function in functions:
        own = document["Resources"][function]["Properties"]["Environment"]["Variables"]
        for variable, value in {**shared, **own}.items():
            found.setdefault(variable, set()).update(_names(value, document["Conditions"]))
    return {
        variable: tuple(name for name in document["Parameters"] if name in names)
        for variable, names in found.items()
    }


def _names(node: Any, conditions: Mapping[str, Any]) -> Iterator[str]:  # noqa: ANN401 - of a document
    """Yield what a value refers to, by itself or in the conditions that it hangs on."""
    if isinstance(node, list):
        for each in node:
            yield from _names(each, conditions)
    elif isinstance(node, dict):
        for key, value in node.items():
            if key == "Ref":
                yield value
            elif key == "Sub":
                text, extra = (value, {}) if isinstance(value, str) else value
                yield from re.findall(r"\$\{([A-Za-z]+)\}", text)
                yield from _names(extra, conditions)
            elif key == "Condition":
                yield from _names(conditions[value], conditions)
            elif key == "If":
                yield from _names([conditions[value[0]], *value[1:]], conditions)
            else:
                yield from _names(value, conditions)
