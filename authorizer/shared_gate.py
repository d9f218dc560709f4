"""One authorizer for many APIs, each by rules of its own.

An API's rules are a Systems Manager parameter named after the API's id, so that whoever owns the
API declares both in one template. They are read when the first request to the API comes, and again
after the soft age; while they cannot be read they hold on, up to the hard age. An API whose rules
are missing or in doubt is closed, and that is our trouble and nobody's 403: API Gateway would keep
a Deny for as long as an Allow.

Every API has a gate of its own. So nothing that was found good for one API, by its audience, is
remembered for another.
"""

import json
from collections.abc import Callable, Mapping
from threading import Lock
from typing import NamedTuple, Protocol

from authorizer import aws, request
from authorizer.clocks import Ages, BackOff, Chance, Clock, Clocks, Instant
from authorizer.errors import RulesUnavailable
from authorizer.gate import Decider, Decision, Freshness, Gate
from authorizer.method_arn import api_id
from authorizer.metrics import Meter
from authorizer.reasons import Reason
from authorizer.recent import Recent
from authorizer.scope_map import ApiRules, ScopeMapError, parse_api_rules

FAULT_SECONDS = 5.0  # before rules that are missing or in doubt are looked at again
_REMEMBERED_APIS = 64


class RulesSource(Protocol):
    """Knows the rules of APIs."""

    def read(self, api: str, seconds: float) -> str | None:
        """Return an API's rules as their owner wrote them, None if there are none.

        Raises:
            RulesUnavailable: nobody can tell.
        """


class ParameterStore:
    """Rules in Systems Manager parameters `<path>/<API id>`."""

    def __init__(self, path: str, systems_manager: aws.SystemsManager) -> None:
        self._path = path
        self._systems_manager = systems_manager

    def read(self, api: str, seconds: float) -> str | None:
        """Return an API's rules."""
        try:
            client = self._systems_manager.client(seconds)
            try:
                answer = client.get_parameter(Name=f"{self._path}/{api}")
            except client.exceptions.ParameterNotFound:
                return None
        except aws.errors() as error:
            raise RulesUnavailable(Reason.API_RULES_UNAVAILABLE) from error
        return answer["Parameter"]["Value"]


class _Known(NamedTuple):
    """What the source said about an API when it was asked: a gate, or why there is none."""

    text: str | None
    verdict: Gate | Reason
    asked: Instant


class ApiGates:
    """Finds the gate of an API, made of the rules that the source has for it."""

    def __init__(
        self,
        source: RulesSource,
        make_gate: Callable[[ApiRules], Gate],
        clocks: Clocks,
        *,
        ages: Ages,
        chance: Chance,
        emit: Callable[[str], None],
    ) -> None:
        self._source = source
        self._make_gate = make_gate
        self._clocks = clocks
        self._ages = ages
        self._emit = emit
        self._known: Recent[str, _Known] = Recent(_REMEMBERED_APIS)
        self._back_off = BackOff(clocks, chance=chance)
        self._asking = Lock()

    def find(self, api: str, seconds: float) -> Gate:
        """Return the gate of an API.

        Raises:
            RulesUnavailable: it has no rules, they are in doubt, or nobody can tell.
        """
        known = self._known.get(api)
        if known is None or not self._is_current(known):
            known = self._renew(api, known, seconds)
        if isinstance(known.verdict, Reason):
            raise RulesUnavailable(known.verdict)
        return known.verdict

    def _is_current(self, known: _Known) -> bool:
        is_fault = isinstance(known.verdict, Reason)
        return self._clocks.since(known.asked) < (FAULT_SECONDS if is_fault else self._ages.soft)

    def _holds(self, known: _Known | None) -> bool:
        if known is None or isinstance(known.verdict, Reason):
            return False
        return self._clocks.since(known.asked) < self._ages.hard

    def _renew(self, api: str, known: _Known | None, seconds: float) -> _Known:
        """Ask the source; who has rules that still hold waits for nobody else's question."""
        if not self._asking.acquire(timeout=0 if self._holds(known) else seconds):
            return self._fall_back(known)
        try:
            known = self._known.get(api)
            if known is not None and self._is_current(known):
                return known  # another request has asked while we waited
            if self._back_off.is_on():
                return self._fall_back(known)
            return self._ask(api, known, seconds)
        finally:
            self._asking.release()

    def _fall_back(self, known: _Known | None) -> _Known:
        if known is None or not self._holds(known):
            raise RulesUnavailable(Reason.API_RULES_UNAVAILABLE)
        return known

    def _ask(self, api: str, known: _Known | None, seconds: float) -> _Known:
        asked = self._clocks.now()
        try:
            text = self._source.read(api, seconds)
        except RulesUnavailable:
            self._back_off.failed()
            return self._fall_back(known)
        self._back_off.succeeded()
        if known is not None and known.text == text:
            known = known._replace(asked=asked)
        else:
            known = self._read(api, text, asked)
        self._known.put(api, known)
        return known

    def _read(self, api: str, text: str | None, asked: Instant) -> _Known:
        if text is None:
            self._notice(f"API {api} has no rules")
            return _Known(None, Reason.API_RULES_MISSING, asked)
        try:
            rules = parse_api_rules(text.encode("utf-8", "surrogatepass"))
        except ScopeMapError as error:
            self._notice(f"the rules of API {api} cannot be used: {error}")
            return _Known(text, Reason.API_RULES_MALFORMED, asked)
        if not rules.audiences:
            self._notice(f"the rules of API {api} name no audience: AUDIENCE holds for it")
        return _Known(text, self._make_gate(rules), asked)

    def _notice(self, text: str) -> None:
        self._emit(json.dumps({"notice": text}))


class SharedGate(Decider):
    """Decides on the events of many APIs, each by its own gate."""

    def __init__(
        self,
        gates: ApiGates,
        freshness: Mapping[str, Freshness],
        *,
        clock: Clock,
        emit: Callable[[str], None],
        meter: Meter | None = None,
    ) -> None:
        super().__init__(freshness, clock=clock, emit=emit, meter=meter)
        self._gates = gates

    def judge(self, event: Mapping[str, object], seconds: float) -> Decision:
        """Judge the event by the rules of its API."""
        started = self._clock()
        gate = self._gates.find(api_id(request.stage(event)), seconds)
        return gate.judge(event, self._left(seconds, started))
