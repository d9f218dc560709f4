"""Make moto's DynamoDB keep a promise that the real one keeps: a write to an item is one step.

moto looks at a condition, writes, and reads what to answer, in steps between which another thread
may come. What counts once would then count twice on a laptop, and only there.
"""

from __future__ import annotations

from functools import wraps
from threading import RLock
from typing import TYPE_CHECKING, Any

from moto.dynamodb.responses import DynamoHandler

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["make_writes_atomic"]

_WRITES = ("put_item", "update_item", "delete_item", "transact_write_items")
_one_at_a_time = RLock()


def make_writes_atomic() -> None:
    """Let the writes of this process's moto wait for each other. Calling it twice is no harm."""
    for name in _WRITES:
        method = getattr(DynamoHandler, name)
        if not hasattr(method, "__wrapped__"):
            setattr(DynamoHandler, name, _locked(method))


def _locked(method: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(method)
    def call(*arguments: object, **named: object) -> object:
        with _one_at_a_time:
            return method(*arguments, **named)

    return call
