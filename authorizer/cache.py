"""Caches of remote data, and bounded memory."""

import os
from _thread import allocate_lock  # importing threading takes a fiftieth of a cold start
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Generic, NamedTuple, TypeVar

from authorizer.clock import Clocks, Instant
from authorizer.errors import AuthorizerUnavailableError

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


class LRUCache(Generic[_Key, _Value]):
    """A mapping of at most `capacity` entries, safe to share between threads."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._entries: OrderedDict[_Key, _Value] = OrderedDict()
        self._lock = allocate_lock()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: _Key) -> _Value | None:
        """Return what is remembered under the key, and count it as used."""
        with self._lock:
            value = self._entries.get(key)
            if value is not None:
                self._entries.move_to_end(key)
            return value

    def put(self, key: _Key, value: _Value) -> None:
        """Remember a value; the entry unused for longest makes room for it."""
        with self._lock:
            self._entries[key] = value
            self._entries.move_to_end(key)
            if len(self._entries) > self._capacity:
                self._entries.popitem(last=False)

    def forget(self, key: _Key) -> None:
        """Drop the key, if it is there."""
        with self._lock:
            self._entries.pop(key, None)


Jitter = Callable[[], float]
"""Returns a number from 0 up to 1."""


def jitter() -> float:
    """Draw a number from 0 up to 1. The `random` module would make every cold start longer."""
    return int.from_bytes(os.urandom(4)) / 2**32


class Ages(NamedTuple):
    """How long, in seconds, an answer is taken for current, and how long it is used at all."""

    soft: float
    hard: float


class Kept(NamedTuple, Generic[_Value]):
    """An answer, the moment of the question (an answer is no younger), and how long it is used."""

    value: _Value
    asked: Instant
    ages: Ages


class BackOff:
    """The pause after failures: none for the first `tolerance`, then doubling up to a minute.

    `jitter` takes away up to half of each pause, so that the sandboxes of one function, which all
    saw the same outage begin, do not all come back at the same moment.
    """

    LONGEST = 60.0

    def __init__(self, clocks: Clocks, *, tolerance: int = 0, jitter: Jitter = jitter) -> None:
        self._clocks = clocks
        self._tolerance = tolerance
        self._chance = jitter
        self._failed_at = Instant(0, 0)
        self._pause = 0.0
        self.failures = 0

    def failed(self) -> None:
        """Count a failure; the pause starts now.

        What fails during the pause was asked before it: that is no further outage.
        """
        if self.is_on():
            return
        doublings = min(self.failures - self._tolerance, 10)
        self._pause = min(self.LONGEST, 2.0**doublings) * (1 - self._chance() / 2)
        self._failed_at = self._clocks.now()
        self.failures += 1

    def succeeded(self) -> None:
        """Forget all failures."""
        self.failures = 0

    def is_on(self) -> bool:
        """Tell whether to leave the other side alone for now."""
        if self.failures <= self._tolerance:
            return False
        return self._clocks.since(self._failed_at) < self._pause


class Question(NamedTuple, Generic[_Value]):
    """What a source is asked.

    Where the answers are kept is the caller's business: `recall` returns what is kept, if anything
    is; `ask` asks the source, taking at most so many seconds, keeps the answer and returns it, or
    raises an `AuthorizerUnavailableError`. `about` tells the source's questions apart.
    """

    recall: Callable[[], Kept[_Value] | None]
    ask: Callable[[float], Kept[_Value]]
    about: Hashable = None


class Turn:
    """The turn to ask a question, and how many there are that ask or wait."""

    __slots__ = ("lock", "wanted_by")

    def __init__(self) -> None:
        self.lock = allocate_lock()
        self.wanted_by = 0


class Turns:
    """A turn for each question, kept as long as somebody wants it."""

    def __init__(self) -> None:
        self._wanted: dict[Hashable, Turn] = {}
        self._lock = allocate_lock()

    @contextmanager
    def take(self, about: Hashable, patience: float) -> Iterator[bool]:
        """Wait so many seconds for the turn to ask about this; yield whether it came."""
        with self._lock:
            turn = self._wanted.setdefault(about, Turn())
            turn.wanted_by += 1
        came = False
        try:
            came = turn.lock.acquire(timeout=patience)
            yield came
        finally:
            if came:
                turn.lock.release()
            with self._lock:
                turn.wanted_by -= 1
                if not turn.wanted_by:
                    del self._wanted[about]


class Upkeep(Generic[_Value]):
    """Keeps what one source answers up to date.

    `trouble` makes the `AuthorizerUnavailableError` for when the source is not even asked.
    """

    def __init__(
        self,
        clocks: Clocks,
        trouble: Callable[[], AuthorizerUnavailableError],
        *,
        jitter: Jitter = jitter,
    ) -> None:
        self._clocks = clocks
        self._trouble = trouble
        self._back_off = BackOff(clocks, jitter=jitter)
        self._turns = Turns()

    @property
    def failures(self) -> int:
        """How many questions have failed since the last that was answered."""
        return self._back_off.failures

    def current(self, question: Question[_Value], seconds: float) -> Kept[_Value]:
        """Return what is kept, asked for again if that is due.

        Raises:
            AuthorizerUnavailableError: nothing is kept that may be used, and nobody answers.
        """
        kept = question.recall()
        if kept is not None and self.is_fresh(kept):
            return kept
        try:
            patience = 0.0 if self._may_be_used(kept) else seconds
            return self._ask(question, self.is_fresh, patience, seconds)
        except AuthorizerUnavailableError:
            if kept is None or not self._may_be_used(kept):
                raise
            return kept

    def newer(self, old: Kept[_Value], question: Question[_Value], seconds: float) -> Kept[_Value]:
        """Return an answer newer than this one, however fresh this one is.

        Raises:
            AuthorizerUnavailableError: nobody answers.
        """
        return self._ask(question, lambda kept: kept is not old, seconds, seconds)

    def is_fresh(self, kept: Kept[_Value]) -> bool:
        """Tell whether an answer is taken for current: then there is nothing to ask."""
        return self._clocks.since(kept.asked) < kept.ages.soft

    def _may_be_used(self, kept: Kept[_Value] | None) -> bool:
        return kept is not None and self._clocks.since(kept.asked) < kept.ages.hard

    def _ask(
        self,
        question: Question[_Value],
        suffices: Callable[[Kept[_Value]], bool],
        patience: float,
        seconds: float,
    ) -> Kept[_Value]:
        """Ask when it is our turn, unless somebody else's question was answered meanwhile."""
        started = self._clocks.now()
        with self._turns.take(question.about, patience) as came:
            if not came:
                raise self._trouble()
            kept = question.recall()
            if kept is not None and suffices(kept):
                return kept
            if self._back_off.is_on():
                raise self._trouble()
            return self._ask_now(question.ask, self._clocks.left(seconds, started))

    def _ask_now(self, ask: Callable[[float], Kept[_Value]], seconds: float) -> Kept[_Value]:
        try:
            kept = ask(seconds)
        except Exception:
            self._back_off.failed()
            raise
        self._back_off.succeeded()
        return kept
