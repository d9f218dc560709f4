"""The part of a method ARN that a policy copies."""

import pytest

from authorizer.errors import PolicyError, Reason
from authorizer.method_arn import stage_arn


@pytest.mark.parametrize(
    ("method_arn", "stage"),
    [
        (
            "arn:aws:execute-api:eu-west-1:123456789012:abc123/ms-system/GET/country/code/AUS",
            "arn:aws:execute-api:eu-west-1:123456789012:abc123/ms-system",
        ),
        (
            "arn:aws-cn:execute-api:cn-north-1:123456789012:abc123/prod/GET/",
            "arn:aws-cn:execute-api:cn-north-1:123456789012:abc123/prod",
        ),
        (
            "arn:aws-us-gov:execute-api:us-gov-west-1:123456789012:abc123/a_b/POST/x:y/~z",
            "arn:aws-us-gov:execute-api:us-gov-west-1:123456789012:abc123/a_b",
        ),
        (
            "arn:aws:execute-api:eu-west-1:123456789012:abc123/$default/GET/country",
            "arn:aws:execute-api:eu-west-1:123456789012:abc123/$default",
        ),
        (
            "arn:aws:execute-api:mars-west-1:123456789012:ymy8tbxw7b/api/$connect",
            "arn:aws:execute-api:mars-west-1:123456789012:ymy8tbxw7b/api",
        ),
        (
            "arn:aws:execute-api:eu-west-1:123456789012:abc123/test-invoke-stage/GET/*/../*",
            "arn:aws:execute-api:eu-west-1:123456789012:abc123/test-invoke-stage",
        ),
    ],
)
def test_arn_parts_are_parsed(method_arn: str, stage: str) -> None:
    assert stage_arn(method_arn) == stage


@pytest.mark.parametrize(
    "method_arn",
    [
        None,
        "",
        "arn:aws:execute-api:eu-west-1:123456789012:abc123",
        "arn:aws:execute-api:eu-west-1:123456789012:abc123/ms-system",
        "arn:aws:execute-api:eu-west-1:123456789012:*/ms-system/GET/",
        "arn:aws:execute-api:eu-west-1:123456789012:abc123/*/GET/",
        "arn:aws:execute-api:eu-west-1:123456789012:abc123/ms-syst?m/GET/",
        "arn:aws:execute-api:eu-west-*:123456789012:abc123/ms-system/GET/",
        "arn:aws*:execute-api:eu-west-1:123456789012:abc123/ms-system/GET/",
        "arn:aws:execute-api:eu-west-1:123456789012:abc123/${aws:x}/GET/",
        "arn:aws:execute-api:eu-west-1:123456789012:abc123//GET/",
        "arn:aws:lambda:eu-west-1:123456789012:function:x/y/z",
    ],
)
def test_malformed_arn_is_an_internal_error(method_arn: object) -> None:
    with pytest.raises(PolicyError) as trouble:
        stage_arn(method_arn)
    assert trouble.value.reason is Reason.METHOD_ARN_MALFORMED
