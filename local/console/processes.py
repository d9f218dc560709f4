"""The processes of one service, which the console asks and tells things as if they were one."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from local.console.backstage import ask, sockets_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

__all__ = ["Processes"]

Record = dict[str, Any]


@dataclass(frozen=True)
class Processes:
    """A service's processes, by their sockets in `folder`."""

    folder: Path | str
    service: str

    def records(self, since: Mapping[str, int] | None = None) -> dict[str, Any]:
        """Return what all of them have recorded, in the order in which it ended.

        Each process counts for itself: `last` has the number of each one's last record by its
        socket, and can be given as `since` to get what came after.

        Raises:
            ConnectionError: none of them answers.
        """
        known = since or {}
        answers = self._ask_each("records", lambda address: {"since": known.get(address, 0)})
        return {
            "last": {address: answer["last"] for address, answer in answers.items()},
            "exchanges": _merged(answer["exchanges"] for answer in answers.values()),
            "invocations": _merged(answer["invocations"] for answer in answers.values()),
            "down": sorted({path for answer in answers.values() for path in answer["down"]}),
        }

    def tell(self, task: str, **arguments: object) -> None:
        """Have each of them do a task.

        Raises:
            ConnectionError: none of them answers.
        """
        self._ask_each(task, lambda _: arguments)

    def _ask_each(
        self, task: str, arguments: Callable[[str], Mapping[str, object]]
    ) -> dict[str, dict[str, Any]]:
        """Return the answers by socket. Who does not answer the console answers no client either.

        So one that has ended is left out, with a sentence for the log.
        """
        answers: dict[str, dict[str, Any]] = {}
        for address in sockets_of(self.folder, self.service):
            try:
                answers[address] = ask(address, task, **arguments(address))
            except (EOFError, OSError) as error:
                why = str(error) or type(error).__name__
                print(f"{Path(address).name} does not answer: {why}.", file=sys.stderr)
        if not answers:
            raise ConnectionError(f"No process of {self.service} answers in {self.folder}.")
        return answers


def _merged(records: Iterable[list[Record]]) -> list[Record]:
    return sorted(chain.from_iterable(records), key=_end)


def _end(record: Record) -> float:
    ended: float = record["at"] + record["milliseconds"] / 1000
    return ended
