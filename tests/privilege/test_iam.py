"""The evaluator that judges the functions' roles, held against IAM's rules."""

from typing import Any

import pytest

from tests.support.iam import Request, Statement, allows

TABLE = "arn:aws:dynamodb:us-east-1:123456789012:table/state"
READ: dict[str, Any] = {"Effect": "Allow", "Action": "dynamodb:GetItem", "Resource": TABLE}
OWN_KEYS = {"StringEquals": {"aws:ResourceTag/stack": "ours"}}
REVOKED_ONLY = {"ForAllValues:StringLike": {"dynamodb:LeadingKeys": ["revoked#*"]}}


def _allows(statement: dict[str, Any], request: Request) -> bool:
    return allows([Statement.read(statement)], request)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, True),
        ({"Action": "dynamodb:getitem"}, True),
        ({"Action": ["dynamodb:PutItem", "dynamodb:Get*"]}, True),
        ({"Action": "dynamodb:PutItem"}, False),
        ({"Action": "dynamodb:Get"}, False),
        ({"Resource": "*"}, True),
        ({"Resource": TABLE[:-1] + "?"}, True),
        ({"Resource": TABLE + "-of-another"}, False),
        ({"Resource": TABLE.upper()}, False),
        ({"Condition": OWN_KEYS}, False),
        ({"Condition": REVOKED_ONLY}, True),
    ],
)
def test_a_statement_allows_what_it_names(change: dict[str, Any], *, expected: bool) -> None:
    assert _allows({**READ, **change}, Request("dynamodb:GetItem", TABLE)) is expected


@pytest.mark.parametrize(
    ("condition", "context", "expected"),
    [
        (OWN_KEYS, {"aws:ResourceTag/stack": ("ours",)}, True),
        (OWN_KEYS, {"aws:ResourceTag/stack": ("theirs",)}, False),
        (OWN_KEYS, {"aws:RequestTag/stack": ("ours",)}, False),
        (REVOKED_ONLY, {"dynamodb:LeadingKeys": ("revoked#abc",)}, True),
        (REVOKED_ONLY, {"dynamodb:LeadingKeys": ("proof#abc",)}, False),
        (REVOKED_ONLY, {"dynamodb:LeadingKeys": ("revoked#abc", "proof#abc")}, False),
        ({**OWN_KEYS, **REVOKED_ONLY}, {"dynamodb:LeadingKeys": ("revoked#a",)}, False),
    ],
)
def test_every_condition_has_to_hold(
    condition: dict[str, Any], context: dict[str, tuple[str, ...]], *, expected: bool
) -> None:
    statement = {**READ, "Condition": condition}
    assert _allows(statement, Request("dynamodb:GetItem", TABLE, context)) is expected


def test_only_allowed_and_undenied_actions_pass() -> None:
    request = Request("dynamodb:GetItem", TABLE)
    assert not allows([], request)
    allow, deny = Statement.read(READ), Statement.read({**READ, "Effect": "Deny"})
    assert not allows([allow, deny], request)


@pytest.mark.parametrize(
    "change",
    [
        {"NotAction": "dynamodb:*"},
        {"Effect": "allow"},
        {"Condition": {"Bool": {"aws:SecureTransport": "true"}}},
        {"Condition": {"StringNotEquals": {"aws:ResourceTag/stack": "ours"}}},
    ],
)
def test_unknown_elements_raise_an_error(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="known"):
        Statement.read({**READ, **change})


def test_a_statement_is_taken_apart_into_single_grants() -> None:
    statement = Statement.read({**READ, "Action": ["a:B", "a:C"], "Resource": ["x", "y"]})
    shown = [str(grant) for grant in statement.grants()]
    assert shown == ["a:B on x", "a:B on y", "a:C on x", "a:C on y"]
