"""Evaluate the IAM policy that a Lambda authorizer returns, as API Gateway does.

Source: IAM User Guide, "Policy evaluation logic" and "IAM JSON policy elements reference". Unknown operators and policy
variables never widen access: they do not match in an Allow statement, and match in a Deny statement.
"""

import ipaddress
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from functools import lru_cache
from typing import Literal, cast

_ELEMENTS = set("Sid Effect Action NotAction Resource NotResource Condition".split())
_VARIABLE = re.compile(r"\$\{([^{}]*)\}")


class PolicyError(Exception):
    """The document is not an IAM policy that an authorizer may return."""


class Verdict(Enum):
    """The verdict of a policy on one request, in the order from most to least permissive."""

    ALLOWED = "allowed"
    EXPLICITLY_DENIED = "explicitly denied"
    NOT_ALLOWED = "not allowed"


@dataclass(frozen=True, slots=True)
class _Statement:
    effect: Literal["Allow", "Deny"]
    actions: tuple[str, ...]
    resources: tuple[str, ...]
    not_actions: bool
    not_resources: bool
    conditions: tuple[tuple[str, str, tuple[str, ...]], ...]

    def matches(self, action: str, resource: str, context: Mapping[str, str]) -> bool:
        if_unknown = self.effect == "Deny"
        by_action = any(like(pattern.lower(), action.lower()) for pattern in self.actions)
        if by_action == self.not_actions:
            return False
        named = [_names(pattern, resource) for pattern in self.resources]
        if None in named and True not in named:
            return if_unknown
        if (True in named) == self.not_resources:
            return False
        results = [_holds(name, key, values, context) for name, key, values in self.conditions]
        return False not in results and (if_unknown or None not in results)


@dataclass(frozen=True, slots=True)
class Policy:
    """A parsed policy document."""

    statements: tuple[_Statement, ...]

    def evaluate(self, action: str, resource: str, context: Mapping[str, str]) -> Verdict:
        """Return the verdict: Deny before Allow, and not allowed without either.

        `context` holds condition keys in lower case, such as `aws:sourceip`.
        """
        verdict = Verdict.NOT_ALLOWED
        for statement in self.statements:
            if statement.matches(action, resource, context):
                if statement.effect == "Deny":
                    return Verdict.EXPLICITLY_DENIED
                verdict = Verdict.ALLOWED
        return verdict


def parse(document: object) -> Policy:
    """Return the policy in a parsed JSON document.

    Raises:
        PolicyError: it is malformed. Element names are case-sensitive, as in IAM.
    """
    if not isinstance(document, dict):
        raise PolicyError("the policy document is not an object")
    unknown = set(document) - {"Version", "Id", "Statement"}
    if unknown:
        raise PolicyError(f"unknown policy element {', '.join(sorted(map(str, unknown)))}")
    if document.get("Version", "2012-10-17") not in ("2012-10-17", "2008-10-17"):
        raise PolicyError("the policy's Version is unknown")
    statements = document.get("Statement")
    if isinstance(statements, dict):
        statements = [statements]
    if not isinstance(statements, list) or not statements:
        raise PolicyError("the policy has no Statement")
    return Policy(tuple(_statement(statement) for statement in statements))


def _statement(declared: object) -> _Statement:
    if not isinstance(declared, dict):
        raise PolicyError("a Statement is not an object")
    unknown = set(declared) - _ELEMENTS
    if unknown:
        raise PolicyError(f"unknown statement element {', '.join(sorted(map(str, unknown)))}")
    effect = declared.get("Effect")
    if effect not in ("Allow", "Deny"):
        raise PolicyError("Effect must be Allow or Deny")
    return _Statement(
        effect=cast('Literal["Allow", "Deny"]', effect),
        actions=_one_of(declared, "Action"),
        resources=_one_of(declared, "Resource"),
        not_actions="NotAction" in declared,
        not_resources="NotResource" in declared,
        conditions=tuple(_conditions(declared.get("Condition", {}))),
    )


def _one_of(declared: Mapping[str, object], name: str) -> tuple[str, ...]:
    if (name in declared) == (f"Not{name}" in declared):
        raise PolicyError(f"a Statement needs either {name} or Not{name}")
    return _strings(declared.get(name, declared.get(f"Not{name}")), name)


def _strings(value: object, name: str) -> tuple[str, ...]:
    items = [value] if isinstance(value, str) else value
    if not isinstance(items, list) or not items:
        raise PolicyError(f"{name} must be a string or a list of strings that is not empty")
    if not all(isinstance(item, str) and item for item in items):
        raise PolicyError(f"{name} has a value that is not a string")
    return tuple(items)


def _conditions(declared: object) -> list[tuple[str, str, tuple[str, ...]]]:
    if not isinstance(declared, dict):
        raise PolicyError("Condition is not an object")
    found: list[tuple[str, str, tuple[str, ...]]] = []
    for name, keys in declared.items():
        if not isinstance(keys, dict):
            raise PolicyError(f"condition {name} is not an object")
        for key, value in keys.items():
            values = value if isinstance(value, list) else [value]
            if not all(isinstance(item, str | int | float) for item in values):
                raise PolicyError(f"condition {name} compares {key} with no plain value")
            texts = tuple(str(item).lower() if isinstance(item, bool) else str(item) for item in values)
            found.append((name, key.lower(), texts))
    return found


def _names(pattern: str, resource: str) -> bool | None:
    """Return whether a pattern names `resource`; None if a policy variable decides it."""
    if _VARIABLE.search(pattern) is None:
        return like(pattern, resource)
    if {found[1] for found in _VARIABLE.finditer(pattern)} - {"*", "?", "$"}:
        return None
    return _expression(pattern).fullmatch(resource) is not None


def like(pattern: str, text: str) -> bool:
    """Return whether a text matches an IAM pattern with `*` and `?`."""
    if pattern in ("*", text):
        return True
    if "*" not in pattern and "?" not in pattern:
        return False
    return _expression(pattern).fullmatch(text) is not None


@lru_cache(maxsize=8192)
def _expression(pattern: str) -> re.Pattern[str]:
    """Compile `*` (any run of characters, slashes too) and `?` (any one character).

    The text after a `*` is atomic: its leftmost occurrence is final. A pattern with many `*` would otherwise take
    polynomial time.
    """
    pieces = [""]
    for part in re.split(r"(\$\{[*?$]\}|\*+|\?)", pattern):
        if part.startswith("${"):
            pieces[-1] += re.escape(part[2])
        elif part.startswith("*"):
            pieces.append("")
        else:
            pieces[-1] += "." if part == "?" else re.escape(part)
    first, *middle = pieces
    last = f".*{middle.pop()}" if middle else ""
    return re.compile(first + "".join(f"(?>.*?{piece})" for piece in middle) + last, re.DOTALL)


def _moment(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _in_network(actual: str, expected: str) -> bool:
    return ipaddress.ip_address(actual) in ipaddress.ip_network(expected, strict=False)


def _truth(text: str) -> bool:
    return {"true": True, "false": False}[text.lower()]


def _ordered(order: Callable[[float, float], bool], read: Callable[[str], float]) -> Callable[[str, str], bool]:
    return lambda actual, expected: order(read(actual), read(expected))


_ORDER: dict[str, Callable[[float, float], bool]] = {
    "Equals": operator.eq,
    "LessThan": operator.lt,
    "LessThanEquals": operator.le,
    "GreaterThan": operator.gt,
    "GreaterThanEquals": operator.ge,
}
# Operator → comparison of the actual value with one expected value.
_COMPARISONS: dict[str, Callable[[str, str], bool]] = {
    "StringEquals": operator.eq,
    "StringEqualsIgnoreCase": lambda actual, expected: actual.casefold() == expected.casefold(),
    "StringLike": lambda actual, expected: like(expected, actual),
    **{f"Numeric{name}": _ordered(order, float) for name, order in _ORDER.items()},
    **{f"Date{name}": _ordered(order, _moment) for name, order in _ORDER.items()},
    "Bool": lambda actual, expected: _truth(actual) == _truth(expected),
    "IpAddress": _in_network,
    "ArnEquals": lambda actual, expected: like(expected, actual),
    "ArnLike": lambda actual, expected: like(expected, actual),
}
_NEGATED = {
    *"StringNotEquals StringNotEqualsIgnoreCase StringNotLike NumericNotEquals DateNotEquals".split(),
    *"NotIpAddress ArnNotEquals ArnNotLike".split(),
}


def _holds(name: str, key: str, values: Sequence[str], context: Mapping[str, str]) -> bool | None:
    """Return whether a condition holds; None if it cannot be evaluated."""
    actual = context.get(key)
    if name == "Null":
        expected = {value.lower() for value in values}
        return None if expected - {"true", "false"} else str(actual is None).lower() in expected
    if name.endswith("IfExists"):
        if actual is None:
            return True
        name = name.removesuffix("IfExists")
    compare = _COMPARISONS.get(name.replace("Not", "") if name in _NEGATED else name)
    if compare is None or any(_VARIABLE.search(value) for value in values):
        return None
    if actual is None:
        return name in _NEGATED
    try:
        return any(compare(actual, each) for each in values) != (name in _NEGATED)
    except (KeyError, ValueError):
        return None
