"""Read CloudFormation templates and resolve intrinsic functions.

Unknown tags and functions are errors: a reader that skipped them would see a template that differs
from the deployed one.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import yaml

_SUB_VARIABLE = re.compile(r"\$\{([^{}]*)\}")
_SHORT_FORMS = {
    "Condition": "Condition",
    "Ref": "Ref",
    **{
        name: f"Fn::{name}"
        for name in (
            *("And", "Equals", "FindInMap", "GetAtt", "If", "ImportValue", "Join", "Not", "Or"),
            *("Select", "Split", "Sub"),
        )
    },
}
_NO_VALUE = object()
_TIMESTAMP = "tag:yaml.org,2002:timestamp"
_MERGE = "tag:yaml.org,2002:merge"


class TemplateError(Exception):
    """The template cannot be read, or has something that is not supported."""


@contextmanager
def checked_types(where: str) -> Iterator[None]:
    """Raise TemplateError for a value that is missing or has another type than CloudFormation's."""
    try:
        yield
    except (AttributeError, IndexError, KeyError, TypeError, ValueError, re.error) as error:
        raise TemplateError(f"{where}: a value is missing or has a wrong type: {error!r}") from error


@dataclass(frozen=True)
class Resource:
    """A resource as declared: `properties` still hold intrinsic functions."""

    logical_id: str
    type: str
    properties: Mapping[str, Any]


class StrictConstructor(yaml.constructor.SafeConstructor):
    """Base of YAML loaders: dates are text, and duplicate keys are errors. A subclass adds the parser."""

    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {
        first: [(tag, pattern) for tag, pattern in pairs if tag != _TIMESTAMP]
        for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, *args: Any, **kwargs: Any) -> dict[Any, Any]:
        """Return a mapping; raises ConstructorError for a duplicate key."""
        seen: set[tuple[str, str]] = set()
        for key, _ in node.value:
            name = (key.tag, str(key.value))
            if name in seen and key.tag != _MERGE:
                raise rejected(f"duplicate key {key.value}", key)
            seen.add(name)
        return super().construct_mapping(node, *args, **kwargs)


def rejected(problem: str, node: yaml.Node) -> yaml.constructor.ConstructorError:
    """Return the error about a node."""
    return yaml.constructor.ConstructorError(None, None, problem, node.start_mark)


class _Loader(StrictConstructor, yaml.CSafeLoader):
    """YAML with CloudFormation's tags."""


def _construct_intrinsic(loader: _Loader, suffix: str, node: yaml.Node) -> Any:
    name = _SHORT_FORMS.get(suffix)
    if name is None:
        raise rejected(f"!{suffix} is not supported", node)
    value: Any
    if isinstance(node, yaml.ScalarNode):
        value = loader.construct_scalar(node)
        if name == "Fn::GetAtt":
            value = value.split(".", 1)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        value = loader.construct_mapping(node, deep=True)  # type: ignore[arg-type]
    return {name: value}


_Loader.add_multi_constructor("!", _construct_intrinsic)


def parse(text: str) -> Any:
    """Return a part of a template as plain data, short-form tags turned into their long form.

    Raises:
        TemplateError: the text is not YAML, or uses a tag that is not supported.
    """
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise TemplateError(f"{line}{error.problem}") from error
    except yaml.YAMLError as error:
        raise TemplateError(f"the text is not YAML: {error}") from error


def load(path: Path) -> dict[str, Any]:
    """Return the template at a path as plain data; raises TemplateError."""
    try:
        document = parse(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise TemplateError(f"{path} cannot be read: {error.strerror}") from error
    except TemplateError as error:
        raise TemplateError(f"{path.name}, {error}") from error
    if not isinstance(document, dict) or not isinstance(document.get("Resources"), dict):
        raise TemplateError(f"{path.name} has no Resources")
    return document


class Resolver:
    """Resolves intrinsic functions.

    `values` holds pseudo parameters and parameters by name, `Ref` values by logical id, and
    attributes as `LogicalId.Attribute`. `imports` holds what other stacks export, by its name.
    """

    def __init__(
        self,
        values: Mapping[str, Any],
        conditions: Mapping[str, Any],
        mappings: Mapping[str, Any],
        imports: Mapping[str, str] | None = None,
    ) -> None:
        self._values = values
        self._conditions = conditions
        self._mappings = mappings
        self._imports = imports or {}

    def resolve(self, node: Any, where: str) -> Any:
        """Return `node` with every intrinsic function replaced by its value; raises TemplateError."""
        value = self._resolve(node, where)
        if value is _NO_VALUE:
            raise TemplateError(f"{where}: AWS::NoValue is not possible here")
        return value

    def text(self, node: Any, where: str) -> str:
        """Return `node` resolved to a string, as CloudFormation writes numbers and booleans."""
        value = self.resolve(node, where)
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, str | int | float):
            return str(value)
        raise TemplateError(f"{where}: expected text, not {value!r}")

    def number(self, node: Any, where: str) -> int:
        """Return `node` resolved to a whole number."""
        text = self.text(node, where)
        if not (text.isascii() and text.isdigit()):
            raise TemplateError(f"{where}: expected a whole number, not {text!r}")
        return int(text)

    def flag(self, node: Any, where: str) -> bool:
        """Return `node` resolved to true or false."""
        text = self.text(node, where)
        if text not in ("true", "false"):
            raise TemplateError(f"{where}: expected true or false, not {text!r}")
        return text == "true"

    def condition(self, name: str, where: str) -> bool:
        """Return whether the template's condition `name` holds."""
        if name not in self._conditions:
            raise TemplateError(f"{where}: there is no condition {name}")
        return self._test(self._conditions[name], f"condition {name}")

    def _resolve(self, node: Any, where: str) -> Any:
        match node:
            case list():
                items = (self._resolve(item, where) for item in node)
                return [item for item in items if item is not _NO_VALUE]
            case {"Ref": "AWS::NoValue", **others} if not others:
                return _NO_VALUE
            case {"Ref": name, **others} if not others:
                return self._value(name, where)
            case dict() if len(node) == 1 and str(*node).startswith("Fn::"):
                ((function, argument),) = node.items()
                with checked_types(f"{where}: {function}"):
                    return self._call(function, argument, where)
            case dict():
                resolved = {key: self._resolve(value, where) for key, value in node.items()}
                return {key: value for key, value in resolved.items() if value is not _NO_VALUE}
        return node

    def _value(self, name: Any, where: str) -> Any:
        if not isinstance(name, str) or name not in self._values:
            raise TemplateError(f"{where}: {name} has no value on the laptop")
        return self._values[name]

    def _call(self, function: str, argument: Any, where: str) -> Any:
        match function.removeprefix("Fn::"), argument:
            case "Sub", _:
                return self._sub(argument, where)
            case "GetAtt", _:
                return self._value(argument if isinstance(argument, str) else ".".join(argument), where)
            case "If", [condition, if_true, if_false]:
                return self._resolve(if_true if self.condition(condition, where) else if_false, where)
            case "Equals" | "And" | "Or" | "Not", _:
                return self._test({function: argument}, where)
        return self._build(function, argument, where)

    def _build(self, function: str, argument: Any, where: str) -> Any:
        match function, argument:
            case "Fn::Join", [separator, items]:
                return str(separator).join(self.text(item, where) for item in self.resolve(items, where))
            case "Fn::Select", [index, items]:
                return self.resolve(items, where)[self.number(index, where)]
            case "Fn::Split", [separator, text]:
                return self.text(text, where).split(separator)
        if function == "Fn::ImportValue":
            export = self.text(argument, where)
            if export not in self._imports:
                raise TemplateError(f"{where}: no stack exports {export}")
            return self._imports[export]
        if function == "Fn::FindInMap":
            table, top, second = (self.text(item, where) for item in argument)
            try:
                return self._mappings[table][top][second]
            except KeyError:
                raise TemplateError(f"{where}: no {top}/{second} in mapping {table}") from None
        raise TemplateError(f"{where}: {function} is not supported")

    def _sub(self, argument: Any, where: str) -> str:
        text, extra = (argument, {}) if isinstance(argument, str) else argument
        own = {key: self.text(value, where) for key, value in extra.items()}

        def replacement(match: re.Match[str]) -> str:
            name = match[1].strip()
            if name.startswith("!"):
                return "${" + name[1:] + "}"
            return own[name] if name in own else self.text(self._value(name, where), where)

        return _SUB_VARIABLE.sub(replacement, text)

    def _test(self, node: Any, where: str) -> bool:
        match node:
            case dict() if len(node) != 1:
                pass
            case {"Condition": name}:
                return self.condition(name, where)
            case {"Fn::Equals": [left, right]}:
                return self.text(left, where) == self.text(right, where)
            case {"Fn::Not": [item]}:
                return not self._test(item, where)
            case {"Fn::And": items}:
                return all(self._test(item, where) for item in items)
            case {"Fn::Or": items}:
                return any(self._test(item, where) for item in items)
        raise TemplateError(f"{where}: {node!r} is not a condition")
