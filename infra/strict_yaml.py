"""YAML with dates as text and without duplicate keys: base of the loaders of templates and input files."""

from typing import Any, ClassVar

import yaml

_TIMESTAMP = "tag:yaml.org,2002:timestamp"
_MERGE = "tag:yaml.org,2002:merge"


class StrictConstructor(yaml.constructor.SafeConstructor):
    """Constructs plain data from the nodes of a parser, which a subclass adds."""

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
