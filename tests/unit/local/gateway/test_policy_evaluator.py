from typing import Any

import pytest

from local.gateway.policy_evaluator import PolicyError, Verdict, parse

ARN = "arn:aws:execute-api:us-east-1:123456789012:api/stage/GET/country/code/AUS"
STAGE = "arn:aws:execute-api:us-east-1:123456789012:api/stage"
CONTEXT = {
    "aws:currenttime": "2026-01-01T12:00:00+00:00",
    "aws:epochtime": "1767268800",
    "aws:sourceip": "203.0.113.9",
    "aws:securetransport": "true",
    "aws:useragent": "curl/8.5.0",
}
ALLOW_ALL = {"Effect": "Allow", "Action": "*", "Resource": "*"}


def judge(*statements: dict[str, Any], resource: str = ARN) -> Verdict:
    policy = parse({"Version": "2012-10-17", "Statement": list(statements)})
    return policy.evaluate("execute-api:Invoke", resource, CONTEXT)


def allow(**elements: object) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": "execute-api:Invoke", "Resource": ARN, **elements}


def deny(**elements: object) -> dict[str, Any]:
    return {**allow(**elements), "Effect": "Deny"}


@pytest.mark.parametrize(
    ("pattern", "matches"),
    [
        (ARN, True),
        ("*", True),
        (f"{STAGE}/GET/country/code/*", True),
        (f"{STAGE}/GET/*", True),
        (f"{STAGE}/*/AUS", True),
        ("arn:aws:execute-api:*:*:api/stage/GET/country/code/AU?", True),
        (f"{STAGE}/GET/country/code/AUS*", True),
        (f"{STAGE}/GET/country/code/AUS?", False),
        (f"{STAGE}/GET/country/code", False),
        (f"{STAGE}/get/country/code/AUS", False),
        (f"{STAGE}/GET/country/code/aus", False),
        (f"{STAGE}/POST/*", False),
        ("", None),
        (f"{STAGE}/GET/country/code/AUS\n", False),
        (f"{STAGE}/G.T/country/code/AUS", False),
        (f"{STAGE}/GET/country/code/A[U]S", False),
    ],
)
def test_resource_wildcards_match_slashes(pattern: str, *, matches: bool | None) -> None:
    if matches is None:
        with pytest.raises(PolicyError):
            judge(allow(Resource=pattern))
        return
    expected = Verdict.ALLOWED if matches else Verdict.NOT_ALLOWED
    assert judge(allow(Resource=pattern)) is expected
    assert judge(allow(Resource=["arn:aws:execute-api:other", pattern])) is expected


def test_policy_variable_can_escape_a_wildcard() -> None:
    pattern = STAGE + "/GET/${*}"
    assert judge(allow(Resource=pattern), resource=f"{STAGE}/GET/*") is Verdict.ALLOWED
    assert judge(allow(Resource=pattern)) is Verdict.NOT_ALLOWED


@pytest.mark.parametrize(
    ("actions", "matches"),
    [
        ("execute-api:Invoke", True),
        ("execute-api:invoke", True),
        ("EXECUTE-API:*", True),
        ("*", True),
        (["s3:GetObject", "execute-api:In*"], True),
        ("execute-api:ManageConnections", False),
        ("s3:*", False),
    ],
)
def test_actions_ignore_case(actions: object, *, matches: bool) -> None:
    assert judge(allow(Action=actions)) is (Verdict.ALLOWED if matches else Verdict.NOT_ALLOWED)


def test_deny_overrides_allow() -> None:
    assert judge(ALLOW_ALL, deny()) is Verdict.EXPLICITLY_DENIED
    assert judge(deny(), ALLOW_ALL) is Verdict.EXPLICITLY_DENIED
    assert judge(ALLOW_ALL, deny(Resource=f"{STAGE}/POST/*")) is Verdict.ALLOWED
    assert judge(deny(Resource="arn:other")) is Verdict.NOT_ALLOWED


def test_not_action_and_not_resource_invert() -> None:
    not_resource = {"Effect": "Allow", "Action": "*", "NotResource": f"{STAGE}/POST/*"}
    not_action = {"Effect": "Allow", "NotAction": "s3:*", "Resource": "*"}
    assert judge(not_resource) is Verdict.ALLOWED
    assert judge(not_resource, resource=f"{STAGE}/POST/x") is Verdict.NOT_ALLOWED
    assert judge(not_action) is Verdict.ALLOWED
    assert judge({**not_action, "NotAction": "execute-api:*"}) is Verdict.NOT_ALLOWED


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ({"DateLessThan": {"aws:CurrentTime": "2026-01-01T12:00:01Z"}}, True),
        ({"DateLessThan": {"aws:CurrentTime": "2026-01-01T12:00:00Z"}}, False),
        ({"DateLessThanEquals": {"aws:CurrentTime": "2026-01-01T12:00:00Z"}}, True),
        ({"DateGreaterThan": {"aws:CurrentTime": "2026-01-01T11:59:59Z"}}, True),
        ({"DateGreaterThanEquals": {"aws:CurrentTime": "2026-01-01T12:00:01Z"}}, False),
        ({"DateEquals": {"aws:CurrentTime": "2026-01-01"}}, False),
        ({"DateNotEquals": {"aws:CurrentTime": "2026-01-01"}}, True),
        ({"DateLessThan": {"aws:EpochTime": "1767268801"}}, True),
        ({"NumericLessThan": {"aws:EpochTime": 1767268801}}, True),
        ({"NumericLessThanEquals": {"aws:EpochTime": 1767268800}}, True),
        ({"NumericGreaterThan": {"aws:EpochTime": "1767268800"}}, False),
        ({"NumericGreaterThanEquals": {"aws:EpochTime": "1767268800"}}, True),
        ({"NumericEquals": {"aws:EpochTime": "1767268800"}}, True),
        ({"NumericNotEquals": {"aws:EpochTime": "1767268800"}}, False),
        ({"IpAddress": {"aws:SourceIp": "203.0.113.0/24"}}, True),
        ({"IpAddress": {"AWS:sourceip": ["198.51.100.0/24", "203.0.113.9"]}}, True),
        ({"NotIpAddress": {"aws:SourceIp": ["198.51.100.0/24", "203.0.113.9"]}}, False),
        ({"StringEquals": {"aws:UserAgent": ["curl/8.5.0", "x"]}}, True),
        ({"StringEquals": {"aws:UserAgent": "CURL/8.5.0"}}, False),
        ({"StringEqualsIgnoreCase": {"aws:UserAgent": "CURL/8.5.0"}}, True),
        ({"StringNotEqualsIgnoreCase": {"aws:UserAgent": "CURL/8.5.0"}}, False),
        ({"StringNotEquals": {"aws:UserAgent": "x"}}, True),
        ({"StringLike": {"aws:UserAgent": "curl/*"}}, True),
        ({"StringNotLike": {"aws:UserAgent": ["x", "curl/*"]}}, False),
        ({"ArnLike": {"aws:UserAgent": "curl*"}}, True),
        ({"ArnEquals": {"aws:UserAgent": "curl*"}}, True),
        ({"ArnNotLike": {"aws:UserAgent": "curl*"}}, False),
        ({"ArnNotEquals": {"aws:UserAgent": "wget*"}}, True),
        ({"Bool": {"aws:SecureTransport": True}}, True),
        ({"Bool": {"aws:SecureTransport": "false"}}, False),
        ({"Null": {"aws:UserAgent": "false"}}, True),
        ({"Null": {"aws:Referer": True}}, True),
        ({"StringEquals": {"aws:Referer": "x"}}, False),
        ({"StringNotEquals": {"aws:Referer": "x"}}, True),
        ({"StringEqualsIfExists": {"aws:Referer": "x"}}, True),
        ({"StringEqualsIfExists": {"aws:UserAgent": "x"}}, False),
        ({"StringLike": {"aws:UserAgent": "curl/*"}, "Bool": {"aws:SecureTransport": False}}, False),
        ({"StringLike": {"aws:UserAgent": "curl/*", "aws:SourceIp": "10.*"}}, False),
    ],
)
def test_condition_operators(condition: object, *, holds: bool) -> None:
    assert judge(allow(Condition=condition)) is (Verdict.ALLOWED if holds else Verdict.NOT_ALLOWED)
    denied = Verdict.EXPLICITLY_DENIED if holds else Verdict.ALLOWED
    assert judge(ALLOW_ALL, deny(Condition=condition)) is denied


@pytest.mark.parametrize(
    "unjudged",
    [
        {"Condition": {"ForAllValues:StringLike": {"aws:UserAgent": "*"}}},
        {"Condition": {"BinaryEquals": {"aws:UserAgent": "x"}}},
        {"Condition": {"IpAddress": {"aws:UserAgent": "10.0.0.0/8"}}},
        {"Condition": {"IpAddress": {"aws:SourceIp": "nowhere"}}},
        {"Condition": {"DateLessThan": {"aws:CurrentTime": "tomorrow"}}},
        {"Condition": {"Bool": {"aws:UserAgent": "true"}}},
        {"Condition": {"Null": {"aws:UserAgent": "perhaps"}}},
        {"Condition": {"StringEquals": {"aws:UserAgent": "${aws:username}"}}},
        {"Resource": "arn:${aws:PrincipalTag/team}:*"},
    ],
)
def test_unknown_conditions_never_widen_access(unjudged: dict[str, object]) -> None:
    assert judge(allow(**unjudged)) is Verdict.NOT_ALLOWED
    assert judge(ALLOW_ALL, deny(**unjudged)) is Verdict.EXPLICITLY_DENIED


@pytest.mark.parametrize(
    "document",
    [
        None,
        "Allow",
        [],
        {},
        {"Statement": []},
        {"Statement": ["Allow"]},
        {"Version": "2026-01-01", "Statement": [ALLOW_ALL]},
        {"statement": [ALLOW_ALL]},
        {"Statement": [{**ALLOW_ALL, "Effect": "allow"}]},
        {"Statement": [{**ALLOW_ALL, "Effect": None}]},
        {"Statement": [{"Effect": "Allow", "Resource": "*"}]},
        {"Statement": [{"Effect": "Allow", "Action": "*"}]},
        {"Statement": [{**ALLOW_ALL, "NotAction": "*"}]},
        {"Statement": [{**ALLOW_ALL, "Resource": []}]},
        {"Statement": [{**ALLOW_ALL, "Resource": [1]}]},
        {"Statement": [{**ALLOW_ALL, "Action": {}}]},
        {"Statement": [{**ALLOW_ALL, "Principal": "*"}]},
        {"Statement": [{**ALLOW_ALL, "resource": "*"}]},
        {"Statement": [{**ALLOW_ALL, "Condition": []}]},
        {"Statement": [{**ALLOW_ALL, "Condition": {"Bool": "x"}}]},
        {"Statement": [{**ALLOW_ALL, "Condition": {"Bool": {"x": None}}}]},
        {"Statement": [{**ALLOW_ALL, "Condition": {"Bool": {"x": [{}]}}}]},
    ],
)
def test_malformed_policy_is_an_error(document: object) -> None:
    with pytest.raises(PolicyError):
        parse(document)


def test_single_statement_needs_no_list() -> None:
    policy = parse({"Statement": ALLOW_ALL})
    assert policy.evaluate("execute-api:Invoke", ARN, {}) is Verdict.ALLOWED
