"""A month of a stack: how much of what it uses, and what that costs."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Any, Final, Self

from functions.shared.clients.client_registry import WARM_SECONDS
from infra.costs.prices import price_list

if TYPE_CHECKING:
    from collections.abc import Mapping

MONTH_SECONDS: Final = 30 * 86_400
MONTH_HOURS: Final = MONTH_SECONDS / 3600
MEMORY_MB: Final = 512
"""What template.yaml gives each function; a test holds the two together."""
FULL_CORE_MB: Final = 1769
"""The memory with which a function has one processor to itself (AWS Lambda's documentation)."""
CALL_MS: Final = {
    "dynamodb_read": 5,
    "dynamodb_write": 5,
    "secret_call": 20,
    "kms_rsa_2048_sign": 10,
}
"""What a call to AWS is taken to wait, by what it is billed as. Nothing here can measure it."""
LOG_EVENT_BYTES: Final = 26
"""What CloudWatch adds to each line."""
COLD_SHARE: Final = 0.005
"""Of the invocations, those taken to find no warm environment."""
LONGEST_SOFT_AGE: Final = 300
"""Seconds after which an authorizer asks again whether its key set has changed."""


@dataclass(frozen=True, slots=True)
class Work:
    """What one invocation was measured to use; calls to AWS by what they are billed as."""

    cpu_ms: float
    log_bytes: float
    calls: Mapping[str, float]

    @classmethod
    def read(cls, stored: Mapping[str, Any]) -> Self:
        """Read it as docs/cost.json has it."""
        return cls(stored["cpu_ms"], stored["log_bytes"], stored["calls"])

    def billed_ms(self) -> int:
        """Return what Lambda bills: a share of a processor, and waiting, in whole milliseconds."""
        waiting = sum(CALL_MS[billed_as] * count for billed_as, count in self.calls.items())
        return max(1, ceil(self.cpu_ms * FULL_CORE_MB / MEMORY_MB + waiting))


@dataclass(frozen=True, slots=True)
class Stack:
    """What there is to pay for before anyone calls."""

    secrets: int
    kms_keys: int
    metrics: int
    alarms: int
    dashboards: int


@dataclass(frozen=True, slots=True)
class Month:
    """So many tokens, and as many guarded calls, of so many clients.

    `remembered` is the share of guarded calls that API Gateway answers from its own cache.
    """

    tokens: int
    calls: int
    clients: int = 20
    remembered: float = 0.0

    @property
    def decisions(self) -> float:
        """How many of the guarded calls reach the authorizer."""
        return self.calls * (1 - self.remembered)


def issuing(month: Month, warm: Work, cold: Work) -> dict[str, float]:
    """Return the quantities that issuing a month's tokens uses."""
    return _answering(month.tokens, month.clients, warm, cold)


def introspecting(month: Month, warm: Work, cold: Work) -> dict[str, float]:
    """Return the quantities that introspection uses when every decision asks it."""
    return _answering(month.decisions, month.clients, warm, cold)


def deciding(month: Month, warm: Work, cold: Work, publish: Work) -> dict[str, float]:
    """Return the quantities that decisions use, the fetches of key sets included."""
    decisions = month.decisions
    renewals = _environments(warm, decisions) * MONTH_SECONDS / LONGEST_SOFT_AGE
    fetches = min(decisions, renewals) + decisions * COLD_SHARE
    return _sum(
        {"http_api_request": fetches},
        _invocations(decisions, warm, cold),
        _invocations(fetches, publish, publish),
    )


def standing(stack: Stack) -> dict[str, float]:
    """Return what is paid for whether or not anyone calls."""
    return {
        "secret_month": stack.secrets,
        "kms_key_month": stack.kms_keys,
        "custom_metric": stack.metrics,
        "alarm": stack.alarms,
        "dashboard": stack.dashboards,
    }


def cost(quantities: Mapping[str, float]) -> float:
    """Return the dollars that quantities cost at list price."""
    prices = price_list().prices
    return sum(prices[name].of(quantity) for name, quantity in quantities.items())


def cognito(month: Month) -> float:
    """Return Cognito's list price for the same tokens and clients."""
    return cost({"cognito_client_month": month.clients, "cognito_token": month.tokens})


@dataclass(frozen=True, slots=True)
class Server:
    """An authorization server that never sleeps, and the tokens a second it gives per processor."""

    name: str
    tokens_per_vcpu: float
    source: str


SERVERS: Final = (
    Server("Keycloak", 120, "Keycloak's sizing guide: 120 client credentials grants/s per vCPU"),
    Server("Hydra", 256, "Hydra's benchmark page: 513/s on two vCPUs, without a database"),
)
LEAST_VCPU: Final = 2 * 0.5
"""Two tasks, each with half a processor, which is what such a server is usually started with."""
GB_PER_VCPU: Final = 2
"""The least that Fargate gives a processor (Amazon ECS's documentation of task sizes)."""
PEAK: Final = 3
"""How many times the mean rate a server has to be able to give."""


def always_on(server: Server, month: Month) -> float:
    """Return a month of two tasks on Fargate, a load balancer and a small database in two zones."""
    at_peak = month.tokens / MONTH_SECONDS * PEAK / server.tokens_per_vcpu
    processors = max(LEAST_VCPU, float(ceil(at_peak)))
    return cost(
        {
            "fargate_vcpu_hour": processors * MONTH_HOURS,
            "fargate_gb_hour": processors * GB_PER_VCPU * MONTH_HOURS,
            "load_balancer_hour": MONTH_HOURS,
            "database_hour": MONTH_HOURS,
        }
    )


def _answering(requests: float, clients: int, warm: Work, cold: Work) -> dict[str, float]:
    """Return what an endpoint uses that knows clients and keys, and renews what it knows."""
    renewals = _environments(warm, requests) * MONTH_SECONDS / WARM_SECONDS
    return _sum(
        {
            "http_api_request": requests,
            "dynamodb_read": min(requests, renewals * clients),
            "secret_call": min(requests, renewals),
        },
        _invocations(requests, warm, cold),
    )


def _environments(work: Work, invocations: float) -> float:
    """Return how many environments are at work at the mean rate, at least one."""
    return max(1.0, invocations / MONTH_SECONDS * work.billed_ms() / 1000)


def _invocations(count: float, warm: Work, cold: Work) -> dict[str, float]:
    """Return what `count` invocations of one function use, cold ones among them."""
    cold_count = count * COLD_SHARE
    warm_count = count - cold_count
    milliseconds = warm_count * warm.billed_ms() + cold_count * cold.billed_ms()
    return _sum(
        {
            "lambda_request": count,
            "lambda_gb_second": milliseconds / 1000 * MEMORY_MB / 1024,
            "log_gigabyte": count * (warm.log_bytes + LOG_EVENT_BYTES) / 1e9,
        },
        {billed_as: each * warm_count for billed_as, each in warm.calls.items()},
        {billed_as: each * cold_count for billed_as, each in cold.calls.items()},
    )


def _sum(*parts: Mapping[str, float]) -> dict[str, float]:
    total: dict[str, float] = {}
    for part in parts:
        for name, quantity in part.items():
            total[name] = total.get(name, 0.0) + quantity
    return total
