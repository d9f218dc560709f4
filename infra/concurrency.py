"""Lambda concurrency: what a stack reserves, and what its account can still reserve."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

UNRESERVED_MINIMUM = 100
"""Concurrent executions that Lambda leaves to functions without a reservation."""

REQUEST_MORE = (
    "aws service-quotas request-service-quota-increase --service-code lambda "
    "--quota-code L-B99A9384 --desired-value 1000"
)


@dataclass(frozen=True, slots=True)
class AccountConcurrency:
    """The concurrent executions of an account in its region."""

    limit: int
    unreserved: int

    @classmethod
    def read(cls, client: Any) -> AccountConcurrency:
        """Read the account's settings with a client of Lambda."""
        settings = client.get_account_settings()["AccountLimit"]
        return cls(settings["ConcurrentExecutions"], settings["UnreservedConcurrentExecutions"])

    @property
    def reservable(self) -> int:
        """The concurrency that functions can still reserve. New accounts (limit 10) have none."""
        return max(self.unreserved - min(UNRESERVED_MINIMUM, self.limit), 0)


def reserved(parameters: Mapping[str, str]) -> int:
    """Return the concurrency that the functions of a stack reserve together."""
    has_sample_api = parameters.get("SampleApi") != "false"
    functions = {
        "IssueTokenConcurrency": 1,
        "IntrospectTokenConcurrency": 1,
        "AuthorizerConcurrency": 2 if has_sample_api else 1,
        "OtherConcurrency": 5 if has_sample_api else 3,
    }
    return sum(int(parameters.get(name, 0)) * count for name, count in functions.items())


def faults(
    account: AccountConcurrency, wanted: Mapping[str, str], deployed: Mapping[str, str]
) -> Iterator[str]:
    """Yield the reasons for which Lambda would refuse the concurrency of a deployment.

    `deployed` has the parameters of the stack as it is, whose reservations become free.
    """
    issuing = int(wanted.get("IssueTokenConcurrency", 0))
    provisioned = int(wanted.get("ProvisionedConcurrency", 0))
    if issuing and provisioned > issuing:
        yield (
            f"ProvisionedConcurrency ({provisioned}) is more than IssueTokenConcurrency ({issuing})"
        )
    needed = reserved(wanted) + (0 if issuing else provisioned)
    available = account.reservable + reserved(deployed)
    stays = min(UNRESERVED_MINIMUM, account.limit)
    if needed > available:
        yield (
            f"the stack reserves or provisions {needed} concurrent executions, and {available} are "
            f"available (limit {account.limit}, minus {stays} that stay unreserved)"
        )
