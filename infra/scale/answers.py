"""API Gateway's cache of the authorizer's answers: one for each token, for so many seconds."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from random import Random


def remembered_share(
    calls: Iterable[float], weights: Sequence[float], seconds: float, random: Random
) -> float:
    """Return the share of calls that the cache answers, made by clients of these weights."""
    answered_until: dict[int, float] = {}
    clients = range(len(weights))
    total = remembered = 0
    for now in calls:
        (client,) = random.choices(clients, cum_weights=weights)
        total += 1
        if now < answered_until.get(client, 0.0):
            remembered += 1
        else:
            answered_until[client] = now + seconds
    return remembered / total
