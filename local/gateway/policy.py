"""Judge an IAM policy as API Gateway judges the one that a Lambda authorizer returns.

Source: IAM User Guide, "Policy evaluation logic" and "IAM JSON policy elements reference".
Unknown operators and policy variables never widen access: they do not match in an Allow statement,
and match in a Deny statement.
"""

import ipaddress
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from functools import lru_cache
from typing import Literal, cast

_ELEMENTS = {
    "Sid",
    "Effect",
    "Action",
    "NotAction",
    "Resource",
    "NotResource",
    "Condition",
}
_VARIABLE = re.compile(r"\$\{([^{}]*)\}")


class PolicyError(Exception):
    """The document is not an IAM policy that an authorizer may return."""


class Verdict(Enum):
    """The verdict of a policy on one request."""

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
        in_doubt = self.effect == "Deny"
        by_action = any(_like(pattern.lower(), action.lower()) for pattern in self.actions)
        if by_action == self.not_actions:
            return False
        named = [_names(pattern, resource) for pattern in self.resources]
        unknown = None in named and True not in named
        if unknown:
            return in_doubt
        if (True in named) == self.not_resources:
            return False
        results = [
            _holds(operator, key, values, context) for operator, key, values in self.conditions
        ]
        if False in results:
            return False
        return in_doubt if None in results else True


@dataclass(frozen=True, slots=True)
class Policy:
    """A parsed policy document."""

    statements: tuple[_Statement, ...]

    def judge(self, action: str, resource: str, context: Mapping[str, str]) -> Verdict:
        """Deny wins, then Allow, and without either the request is not allowed.

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
    """The policy in `document`, which came from JSON.

    Raises:
        PolicyError: it is malformed. Element names are compared with case, as IAM compares them.
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
    for operator, keys in declared.items():
        if not isinstance(keys, dict):
            raise PolicyError(f"condition {operator} is not an object")
        for key, value in keys.items():
            values = value if isinstance(value, list) else [value]
            if not all(isinstance(item, str | int | float) for item in values):
                raise PolicyError(f"condition {operator} compares {key} with no plain value")
            found.append((operator, key.lower(), tuple(_plain(item) for item in values)))
    return found


def _plain(value: str | float | bool) -> str:  # noqa: FBT001 - a JSON value
    return str(value).lower() if isinstance(value, bool) else str(value)


def _names(pattern: str, resource: str) -> bool | None:
    """Return whether a pattern names `resource`; None if a policy variable decides it."""
    if _VARIABLE.search(pattern) is None:
        return _like(pattern, resource)
    if {found[1] for found in _VARIABLE.finditer(pattern)} - {"*", "?", "$"}:
        return None
    return _expression(pattern).fullmatch(resource) is not None


def _like(pattern: str, text: str) -> bool:
    if pattern in ("*", text):
        return True
    if "*" not in pattern and "?" not in pattern:
        return False
    return _expression(pattern).fullmatch(text) is not None


@lru_cache(maxsize=8192)
def _expression(pattern: str) -> re.Pattern[str]:
    """`*` and `?` as IAM reads them: any run of characters, slashes too, and any one character.

    The text after a `*` is atomic: its leftmost occurrence is final. A pattern with many `*` would
    otherwise take polynomial time.
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


_Comparison = tuple["Callable[[str, str], bool]", bool]

# Operator → comparison of the actual with one expected value, and whether it is negated.
_OPERATORS: dict[str, _Comparison] = {
    "StringEquals": (lambda actual, expected: actual == expected, False),
    "StringNotEquals": (lambda actual, expected: actual == expected, True),
    "StringEqualsIgnoreCase": (lambda a, e: a.casefold() == e.casefold(), False),
    "StringNotEqualsIgnoreCase": (lambda a, e: a.casefold() == e.casefold(), True),
    "StringLike": (lambda actual, expected: _like(expected, actual), False),
    "StringNotLike": (lambda actual, expected: _like(expected, actual), True),
    "NumericEquals": (lambda actual, expected: float(actual) == float(expected), False),
    "NumericNotEquals": (lambda actual, expected: float(actual) == float(expected), True),
    "NumericLessThan": (lambda actual, expected: float(actual) < float(expected), False),
    "NumericLessThanEquals": (lambda actual, expected: float(actual) <= float(expected), False),
    "NumericGreaterThan": (lambda actual, expected: float(actual) > float(expected), False),
    "NumericGreaterThanEquals": (lambda a, e: float(a) >= float(e), False),
    "DateEquals": (lambda actual, expected: _moment(actual) == _moment(expected), False),
    "DateNotEquals": (lambda actual, expected: _moment(actual) == _moment(expected), True),
    "DateLessThan": (lambda actual, expected: _moment(actual) < _moment(expected), False),
    "DateLessThanEquals": (lambda a, e: _moment(a) <= _moment(e), False),
    "DateGreaterThan": (lambda actual, expected: _moment(actual) > _moment(expected), False),
    "DateGreaterThanEquals": (lambda a, e: _moment(a) >= _moment(e), False),
    "Bool": (lambda actual, expected: _truth(actual) == _truth(expected), False),
    "IpAddress": (_in_network, False),
    "NotIpAddress": (_in_network, True),
    "ArnEquals": (lambda actual, expected: _like(expected, actual), False),
    "ArnLike": (lambda actual, expected: _like(expected, actual), False),
    "ArnNotEquals": (lambda actual, expected: _like(expected, actual), True),
    "ArnNotLike": (lambda actual, expected: _like(expected, actual), True),
}


def _holds(
    operator: str, key: str, values: Sequence[str], context: Mapping[str, str]
) -> bool | None:
    """Return whether a condition holds; None if it cannot be evaluated."""
    actual = context.get(key)
    if operator == "Null":
        expected = {value.lower() for value in values}
        return None if expected - {"true", "false"} else str(actual is None).lower() in expected
    if operator.endswith("IfExists"):
        if actual is None:
            return True
        operator = operator.removesuffix("IfExists")
    if operator not in _OPERATORS or any(_VARIABLE.search(value) for value in values):
        return None
    compare, negated = _OPERATORS[operator]
    if actual is None:
        return negated
    try:
        return any(compare(actual, expected) for expected in values) != negated
    except (KeyError, ValueError):
        return None
