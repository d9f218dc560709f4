"""Limits of services: lengths of names, taken names, and metrics of an alarm."""

from collections.abc import Iterator

import pytest

from infra.cloudformation import load
from infra.template_checks import DOMAINS, OPERATIONS
from local.emulated_aws import TEMPLATE

LONGEST_STACK_NAME = 128
LIMITS = {
    ("AWS::ApiGatewayV2::Api", "Name"): 128,
    ("AWS::CloudWatch::Alarm", "AlarmName"): 255,
    ("AWS::CloudWatch::Dashboard", "DashboardName"): 255,
    ("AWS::Logs::LogGroup", "LogGroupName"): 512,
    ("AWS::Serverless::Api", "Name"): 1024,
}
"""The most characters that a service takes. botocore's models have some, the API references all."""


def _given_names() -> Iterator[tuple[str, int, str]]:
    """Yield logical id, limit and text of each name that the templates give."""
    for path in (TEMPLATE, DOMAINS, OPERATIONS):
        for logical_id, resource in load(path)["Resources"].items():
            for name, value in resource.get("Properties", {}).items():
                if limit := LIMITS.get((resource["Type"], name)):
                    ((function, text),) = value.items()
                    yield logical_id, limit, f"${{{text}}}" if function == "Ref" else str(text)


NAMES = {logical_id: (limit, text) for logical_id, limit, text in _given_names()}


@pytest.mark.parametrize("logical_id", NAMES)
def test_names_fit_the_longest_stack_name(logical_id: str) -> None:
    limit, text = NAMES[logical_id]
    stack = "s" * LONGEST_STACK_NAME
    for variable, value in {"AWS::StackName": stack, "Stack": stack, "AWS::Region": "ap-northeast-1"}.items():
        text = text.replace(f"${{{variable}}}", value)
    assert "$" not in text, f"{logical_id} is named after something that this test does not know"
    assert stack in text, f"{logical_id} would be in the way of a second stack"
    assert len(text) <= limit


def test_a_dashboard_is_named_after_its_region_too() -> None:
    """Dashboards are an account's, not a region's: two regions' stacks may have the same name.

    https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-cloudwatch-dashboard.html
    """
    assert NAMES["Dashboard"][1] == "${Stack}-${AWS::Region}"


def test_retained_resources_have_no_fixed_names() -> None:
    kept = {
        logical_id: resource["Properties"]
        for logical_id, resource in load(TEMPLATE)["Resources"].items()
        if "DeletionPolicy" in resource
    }
    assert len(kept) == 5
    for properties in kept.values():
        assert not [name for name in properties if name.endswith("Name")]


def test_an_alarm_watches_no_more_metrics_than_it_can() -> None:
    """Ten, all with one period.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarm-data-queries.html
    """
    for resource in load(OPERATIONS)["Resources"].values():
        entries = resource["Properties"].get("Metrics", ())
        entries = [each["Fn::If"][1] if "Fn::If" in each else each for each in entries]
        watched = [each["MetricStat"] for each in entries if "MetricStat" in each]
        assert len(watched) <= 10
        assert len({each["Period"] for each in watched}) <= 1
