"""Who uses a moto that was started by hand: it serves until the last of them has ended.

Two APIs that are started by hand share one moto. Were it to end with the one that brought it along,
the other would be left without; and one that starts at that moment would find a moto that is about
to go. So each asks first, by HTTP on moto's own port, and from a yes on moto stays for it.
"""

from __future__ import annotations

import http.client
import re
import threading
from contextlib import closing
from enum import Enum, auto
from typing import TYPE_CHECKING, Any

from local.aws_gate import authorization
from local.supervisor import is_alive

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    Wsgi = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

__all__ = ["Answer", "Followers", "follow"]

_PATH = "/gatehouse/followers/"
_ASKED = re.compile(re.escape(_PATH) + r"([1-9][0-9]{0,9})")
_PATIENCE_SECONDS = 2.0


class Followers:
    """The processes that moto serves, by their ids."""

    def __init__(self, first: int) -> None:
        self._processes = {first}
        self._lock = threading.Lock()

    def add(self, process: int) -> bool:
        """Serve a process too; whether that is still possible."""
        with self._lock:
            if not self._are_alive():
                return False
            self._processes.add(process)
            return True

    def remain(self) -> bool:
        """Whether any of them is alive. After a no there will be none."""
        with self._lock:
            return self._are_alive()

    def _are_alive(self) -> bool:
        self._processes = {each for each in self._processes if is_alive(each)}
        return bool(self._processes)

    def in_front_of(self, moto: Wsgi) -> Wsgi:
        """Answer those who ask to be served, and let `moto` answer everything else."""

        def answer(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
            asked = _ASKED.fullmatch(environ.get("PATH_INFO", ""))
            if asked is None:
                return moto(environ, start)
            start("204 No Content" if self.add(int(asked[1])) else "410 Gone", [])
            return []

        return answer


class Answer(Enum):
    """What a process is told that asks to be served."""

    YES = auto()
    NOT_YET = auto()
    """By a moto that is still being provisioned, is about to end, or has another access key."""
    NOBODY = auto()
    STRANGER = auto()


def follow(port: int, process: int, access_key: str | None) -> Answer:
    """Ask the moto on a port to serve a process. It says yes when it is provisioned."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, _PATIENCE_SECONDS)) as connection:
        try:
            connection.request("PUT", f"{_PATH}{process}", headers=authorization(access_key))
            status = connection.getresponse().status
        except ConnectionRefusedError:
            return Answer.NOBODY
        except (TimeoutError, ConnectionError):
            return Answer.NOT_YET
        except http.client.HTTPException:
            return Answer.STRANGER
    return _ANSWERS.get(status, Answer.STRANGER)


_ANSWERS = {
    http.client.NO_CONTENT: Answer.YES,
    http.client.GONE: Answer.NOT_YET,
    http.client.SERVICE_UNAVAILABLE: Answer.NOT_YET,
    http.client.FORBIDDEN: Answer.NOT_YET,
}
