"""The authorizer's policy as API Gateway reads it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


def matching_statement(document: Mapping[str, Any], resource: str) -> dict[str, str] | None:
    """Return the statement of the authorizer's policy that decides about a resource, if any does.

    Deny wins, and `*` takes any run of characters, slashes too.
    """
    for effect in ("Deny", "Allow"):
        for statement in document["Statement"]:
            if statement["Effect"] != effect:
                continue
            for pattern in statement["Resource"]:
                if re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), resource, re.DOTALL):
                    until = (
                        statement.get("Condition", {})
                        .get("DateLessThanIfExists", {})
                        .get("aws:CurrentTime")
                    )
                    found = {"Effect": effect, "Resource": pattern}
                    return found | ({"until": until} if until else {})
    return None


def opened(document: Mapping[str, Any]) -> list[str]:
    """Return the routes that a policy opens, as patterns: `GET /country/code/*`."""
    found = []
    for statement in document["Statement"]:
        if statement["Effect"] == "Allow":
            for resource in statement["Resource"]:
                method, _, path = resource.split("/", 2)[2].partition("/")
                found.append(f"{method} /{path}")
    return found
