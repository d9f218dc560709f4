"""template.yaml as CloudFormation gets to see it: after SAM's transform, under given parameters."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from graphlib import TopologicalSorter
from re import findall, fullmatch
from typing import Any, Self

from infra import template_checks
from infra.cloudformation import Resolver, load
from infra.template_checks import DOMAINS
from local.addresses import LAPTOP
from local.emulated_aws import TEMPLATE


@cache
def transformed() -> dict[str, Any]:
    """Return the whole template after SAM's transform."""
    return template_checks.transformed(TEMPLATE)


@cache
def _defaults() -> dict[str, str]:
    parameters: Mapping[str, Mapping[str, object]] = load(TEMPLATE)["Parameters"]
    return {name: str(declared["Default"]) for name, declared in parameters.items()}


def declared(**parameters: str) -> tuple[dict[str, Any], Resolver]:
    """Return the template as it is written, and a resolver with these parameters.

    A reference to a resource is its logical id, one to a pseudo parameter a `${}` with its name.
    """
    document = load(TEMPLATE)
    pseudo = {f"AWS::{name}": f"${{AWS::{name}}}" for name in ("Partition", "Region", "AccountId", "StackName")}
    resources = {f"{name}{suffix}": name for name in document["Resources"] for suffix in ("", ".Arn")}
    values = {**_defaults(), **pseudo, **resources, "AWS::URLSuffix": "amazonaws.com", **parameters}
    return document, Resolver(values, document["Conditions"], {}, {})


def gateway_responses(**parameters: str) -> dict[str, tuple[str, dict[str, str], dict[str, str]]]:
    """Return status, templates and headers of each gateway response of the guarded API."""
    document, resolver = declared(**parameters)
    found = {}
    for name, each in document["Resources"]["GuardedApi"]["Properties"]["GatewayResponses"].items():
        headers = resolver.resolve(each.get("ResponseParameters", {}).get("Headers", {}), name)
        named = {f"gatewayresponse.header.{header}": value for header, value in headers.items()}
        found[name] = (str(each.get("StatusCode", "")), each["ResponseTemplates"], named)
    return found


def statement_shapes(statements: Iterable[Mapping[str, Any]]) -> list[tuple[str, tuple[str, ...], str]]:
    """Return effect, actions and conditions of the statements of a policy, sorted."""
    return sorted(
        (
            each["Effect"],
            tuple(sorted([each["Action"]] if isinstance(each["Action"], str) else each["Action"])),
            json.dumps(each.get("Condition", {}), sort_keys=True),
        )
        for each in statements
    )


def refusals(parameters: Mapping[str, str]) -> list[str]:
    """Return CloudFormation's errors about parameters before it creates anything."""
    document = transformed()
    values = {**_defaults(), **parameters}
    found = [
        f"{name} does not match {declared['AllowedPattern']}"
        for name, declared in document["Parameters"].items()
        if "AllowedPattern" in declared and not fullmatch(declared["AllowedPattern"], values[name])
    ]
    for name, rule in document["Rules"].items():
        tests = {name: rule["RuleCondition"]} | {
            said["AssertDescription"]: said["Assert"] for said in rule["Assertions"]
        }
        resolver = Resolver({**LAPTOP.pseudo_parameters(), **values}, tests, {})
        if resolver.condition(name, name):
            said = (each["AssertDescription"] for each in rule["Assertions"])
            found += [text for text in said if not resolver.condition(text, name)]
    return found


@dataclass(frozen=True)
class Deployment:
    """Resources and outputs of the template with these parameters."""

    resources: Mapping[str, Mapping[str, Any]]
    outputs: Mapping[str, Mapping[str, Any]]
    resolver: Resolver
    parameters: frozenset[str] = frozenset()

    @classmethod
    def of(cls, **parameters: str) -> Self:
        """Choose what the conditions choose."""
        document = transformed()
        resolver = Resolver({**LAPTOP.pseudo_parameters(), **_defaults(), **parameters}, document["Conditions"], {})

        return cls(
            _chosen_parts(document["Resources"], resolver),
            _chosen_parts(document["Outputs"], resolver),
            resolver,
            frozenset(document["Parameters"]),
        )

    @classmethod
    def domains(cls, **parameters: str) -> Self:
        """Return the nested stack of domain names; without any resource where there is no name."""
        parent = cls.of(**parameters)
        nested = parent.resources.get("Domains")
        if nested is None:
            return cls({}, {}, parent.resolver)
        made = {name: name for name in parent.resources}
        values = {**LAPTOP.pseudo_parameters(), **_defaults(), **parameters, **made}
        given = Resolver(values, {}, {}).resolve(nested["Properties"]["Parameters"], "Domains")
        document = load(DOMAINS)
        assert set(given) == set(document["Parameters"])
        resolver = Resolver({**LAPTOP.pseudo_parameters(), **given}, document["Conditions"], {})
        return cls(
            _chosen_parts(document["Resources"], resolver),
            _chosen_parts(document["Outputs"], resolver),
            resolver,
            frozenset(document["Parameters"]),
        )

    def properties(self, kind: str) -> dict[str, Mapping[str, Any]]:
        """Return the properties of the resources of one type, by logical id."""
        return {name: resource["Properties"] for name, resource in self.resources.items() if resource["Type"] == kind}

    def order(self) -> list[str]:
        """Return the resources in an order in which they can be made.

        Raises:
            graphlib.CycleError: there is none.
            AssertionError: a resource or an output needs one that is not made.
        """
        graph = {name: set(_references(part)) for name, part in self.resources.items()}
        needed = {**graph, **{name: set(_references(part)) for name, part in self.outputs.items()}}
        known = self.resources.keys() | self.parameters
        missing = {
            f"{name} needs {other}"
            for name, others in needed.items()
            for other in others - known
            if not other.startswith("AWS::")
        }
        assert not missing
        made = {name: others & self.resources.keys() for name, others in graph.items()}
        return list(TopologicalSorter(made).static_order())


def _chosen_parts(parts: Mapping[str, Mapping[str, Any]], resolver: Resolver) -> dict[str, Mapping[str, Any]]:
    return {
        name: _chosen(declared, resolver)
        for name, declared in parts.items()
        if "Condition" not in declared or resolver.condition(declared["Condition"], name)
    }


def _chosen(node: Any, resolver: Resolver) -> Any:
    """Return the node with every Fn::If decided, and all else as it was."""
    if isinstance(node, list):
        return [_chosen(item, resolver) for item in node if not _is_nothing(item, resolver)]
    if not isinstance(node, dict):
        return node
    if "Fn::If" in node:
        condition, if_true, if_false = node["Fn::If"]
        holds = resolver.condition(condition, condition)
        return _chosen(if_true if holds else if_false, resolver)
    return {key: _chosen(value, resolver) for key, value in node.items() if not _is_nothing(value, resolver)}


def _is_nothing(node: object, resolver: Resolver) -> bool:
    return bool(_chosen(node, resolver) == {"Ref": "AWS::NoValue"}) if _is_if(node) else False


def _is_if(node: object) -> bool:
    return isinstance(node, dict) and "Fn::If" in node


def _references(node: Any) -> Iterator[str]:
    """Yield the logical ids that a node names in Ref, Fn::GetAtt, Fn::Sub or DependsOn."""
    if isinstance(node, list):
        for item in node:
            yield from _references(item)
    elif isinstance(node, dict):
        for key, value in node.items():
            if key == "Ref":
                yield value
            elif key == "Fn::GetAtt":
                yield (value.split(".") if isinstance(value, str) else value)[0]
            elif key == "DependsOn":
                yield from [value] if isinstance(value, str) else value
            elif key == "Fn::Sub":
                yield from _substituted(value)
            else:
                yield from _references(value)


def _substituted(argument: Any) -> Iterator[str]:
    text, extra = (argument, {}) if isinstance(argument, str) else argument
    for name in findall(r"\$\{([^!}]+)\}", text):
        if name not in extra:
            yield name.split(".")[0]
    yield from _references(extra)
