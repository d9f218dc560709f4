"""An evaluator of IAM policies: whether an identity's statements let a request through.

It supports the parts of IAM that this stack uses. Unknown conditions are errors, so that none is assumed true.
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from local.gateway.policy_evaluator import like

_MEMBERS = {"Sid", "Effect", "Action", "Resource", "Condition"}
_FOR_ALL_VALUES = "ForAllValues:"


@dataclass(frozen=True)
class Request:
    """One action on one resource; `context` has the values of each condition key that it has."""

    action: str
    resource: str
    context: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __str__(self) -> str:
        shown = ", ".join(f"{key}={'|'.join(values)}" for key, values in self.context.items())
        return f"{self.action} on {self.resource}{f' ({shown})' if shown else ''}"


@dataclass(frozen=True)
class Statement:
    """A statement of a policy, with every intrinsic function resolved."""

    effect: str
    actions: tuple[str, ...]
    resources: tuple[str, ...]
    conditions: tuple[tuple[str, str, tuple[str, ...]], ...] = ()
    """Operator, key and values; all of them have to hold."""

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Self:
        """Read a statement.

        Raises:
            ValueError: it uses something that is not known here.
        """
        unknown = set(document) - _MEMBERS
        if unknown or document["Effect"] not in ("Allow", "Deny"):
            raise ValueError(f"not known to this evaluator: {document}")
        conditions = tuple(
            (operator, key, as_list(values))
            for operator, keys in document.get("Condition", {}).items()
            for key, values in keys.items()
        )
        for operator, _, _ in conditions:
            if operator.removeprefix(_FOR_ALL_VALUES) not in ("StringEquals", "StringLike"):
                raise ValueError(f"the condition operator {operator} is not known here")
        return cls(document["Effect"], as_list(document["Action"]), as_list(document["Resource"]), conditions)

    def matches(self, request: Request) -> bool:
        """Return True if the statement matches the request."""
        return (
            any(like(action.lower(), request.action.lower()) for action in self.actions)
            and any(like(resource, request.resource) for resource in self.resources)
            and all(_holds(condition, request.context) for condition in self.conditions)
        )

    def grants(self) -> Iterable[Self]:
        """Take it apart: one statement for each action and resource."""
        for action in self.actions:
            for resource in self.resources:
                yield type(self)(self.effect, (action,), (resource,), self.conditions)

    def __str__(self) -> str:
        return f"{' or '.join(self.actions)} on {' or '.join(self.resources)}"


def allows(statements: Iterable[Statement], request: Request) -> bool:
    """Return True if a statement allows the request and none denies it."""
    effects = {statement.effect for statement in statements if statement.matches(request)}
    return effects == {"Allow"}


def as_list(value: str | list[str]) -> tuple[str, ...]:
    """Return what a policy may write as one text or as a list."""
    return (value,) if isinstance(value, str) else tuple(value)


def _holds(condition: tuple[str, str, tuple[str, ...]], context: Mapping[str, tuple[str, ...]]) -> bool:
    operator, key, wanted = condition
    given = context.get(key, ())
    if not given:
        return operator.startswith(_FOR_ALL_VALUES)  # ForAllValues is true without values
    if operator.endswith("StringLike"):
        return all(any(like(pattern, value) for pattern in wanted) for value in given)
    return all(value in wanted for value in given)
