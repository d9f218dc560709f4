"""What a month uses follows from what an invocation uses."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.costs import month as model
from infra.costs.month import Month, Server, Stack, Work
from local.gateway.cloudformation import load

WARM = Work(cpu_ms=0.3, log_bytes=400, calls={})
COLD = Work(cpu_ms=300, log_bytes=400, calls={"secret_call": 2})
IN_KMS = Work(cpu_ms=0.3, log_bytes=400, calls={"kms_rsa_2048_sign": 1})
MILLION = 1_000_000


def test_lambda_bills_a_share_of_a_processor_in_whole_milliseconds() -> None:
    # 0.3 ms of a whole processor are 1.04 ms of 512/1769 of one.
    assert WARM.billed_ms() == 2
    assert Work(0.01, 0, {}).billed_ms() == 1


def test_waiting_for_aws_is_billed() -> None:
    assert IN_KMS.billed_ms() == 2 + model.CALL_MS["kms_rsa_2048_sign"]


def test_memory_is_what_the_template_gives() -> None:
    template = load(Path(__file__).parents[4] / "template.yaml")
    assert template["Parameters"]["MemorySize"]["Default"] == model.MEMORY_MB


def test_each_token_is_a_request_and_an_invocation() -> None:
    used = model.issuing(Month(MILLION, 0), WARM, COLD)
    assert used["http_api_request"] == MILLION
    assert used["lambda_request"] == MILLION


def test_a_key_in_kms_signs_once_for_each_warm_token() -> None:
    used = model.issuing(Month(MILLION, 0), IN_KMS, IN_KMS)
    assert used["kms_rsa_2048_sign"] == pytest.approx(MILLION)
    assert "kms_rsa_2048_sign" not in model.issuing(Month(MILLION, 0), WARM, COLD)


def test_a_client_is_never_read_more_often_than_it_asks() -> None:
    assert model.issuing(Month(1_000, 0), WARM, COLD)["dynamodb_read"] == 1_000


def test_what_api_gateway_remembers_reaches_no_authorizer() -> None:
    all_of_them = model.deciding(Month(0, MILLION), WARM, COLD, WARM)
    a_tenth = model.deciding(Month(0, MILLION, remembered=0.9), WARM, COLD, WARM)
    fetches = all_of_them["http_api_request"]
    assert all_of_them["lambda_request"] == pytest.approx(MILLION + fetches)
    assert a_tenth["lambda_request"] < all_of_them["lambda_request"] / 5


def test_key_sets_are_fetched_by_environments_and_not_by_tokens() -> None:
    few = model.deciding(Month(0, MILLION), WARM, WARM, WARM)["http_api_request"]
    many = model.deciding(Month(0, 100 * MILLION), WARM, WARM, WARM)["http_api_request"]
    assert few < MILLION * 0.02
    assert many - 100 * MILLION * model.COLD_SHARE < MILLION


def test_the_standing_parts_cost_the_same_in_an_empty_month() -> None:
    stack = Stack(secrets=4, kms_keys=1, metrics=10, alarms=10, dashboards=1)
    assert model.cost(model.standing(stack)) == pytest.approx(1.6 + 1 + 3 + 1 + 3)


def test_a_server_that_is_always_on_is_paid_for_in_an_empty_month_too() -> None:
    server = Server("A server", tokens_per_vcpu=100, source="a page")
    empty = model.always_on(server, Month(0, 0))
    assert empty > 50
    assert model.always_on(server, Month(MILLION, 0)) == empty
    assert model.always_on(server, Month(10_000 * MILLION, 0)) > 10 * empty
