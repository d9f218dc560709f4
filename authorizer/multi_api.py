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
from functools import partial
from typing import NamedTuple, Protocol

from authorizer import aws, request
from authorizer.authorizer import Authorizer, BaseAuthorizer, Decision, Freshness
from authorizer.cache import Ages, Jitter, Kept, LRUCache, Question, Upkeep
from authorizer.clock import Clocks
from authorizer.errors import Reason, RulesUnavailableError
from authorizer.method_arn import api_id
from authorizer.metrics import Meter
from authorizer.scope_map import ApiRules, ScopeMapError, parse_api_rules

_FAULT_AGES = Ages(soft=5.0, hard=5.0)  # rules that are missing or in doubt are looked at again
_REMEMBERED_APIS = 64


class RulesSource(Protocol):
    """Knows the rules of APIs."""

    def read(self, api: str, seconds: float) -> str | None:
        """Return an API's rules as their owner wrote them, None if there are none.

        Raises:
            RulesUnavailableError: nobody can tell.
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
            raise RulesUnavailableError(Reason.API_RULES_UNAVAILABLE) from error
        return answer["Parameter"]["Value"]


class _Rules(NamedTuple):
    """What the source has for an API, and the gate made of it, or why there is none."""

    text: str | None
    gate: Authorizer | Reason


class ApiAuthorizers:
    """Finds the gate of an API, made of the rules that the source has for it."""

    def __init__(
        self,
        source: RulesSource,
        make_gate: Callable[[ApiRules], Authorizer],
        clocks: Clocks,
        *,
        ages: Ages,
        jitter: Jitter,
        emit: Callable[[str], None],
    ) -> None:
        self._source = source
        self._make_gate = make_gate
        self._clocks = clocks
        self._ages = ages
        self._emit = emit
        self._known: LRUCache[str, Kept[_Rules]] = LRUCache(_REMEMBERED_APIS)
        trouble = partial(RulesUnavailableError, Reason.API_RULES_UNAVAILABLE)
        self._upkeep: Upkeep[_Rules] = Upkeep(clocks, trouble, jitter=jitter)

    def find(self, api: str, seconds: float) -> Authorizer:
        """Return the gate of an API.

        Raises:
            RulesUnavailableError: it has no rules, they are in doubt, or nobody can tell.
        """
        question = Question(partial(self._known.get, api), partial(self._ask, api), api)
        rules = self._upkeep.current(question, seconds).value
        if isinstance(rules.gate, Reason):
            raise RulesUnavailableError(rules.gate)
        return rules.gate

    def _ask(self, api: str, seconds: float) -> Kept[_Rules]:
        asked = self._clocks.now()
        text = self._source.read(api, seconds)
        known = self._known.get(api)
        rules = known.value if known and known.value.text == text else self._read(api, text)
        ages = _FAULT_AGES if isinstance(rules.gate, Reason) else self._ages
        kept = Kept(rules, asked, ages)
        self._known.put(api, kept)
        return kept

    def _read(self, api: str, text: str | None) -> _Rules:
        if text is None:
            self._notice(f"API {api} has no rules")
            return _Rules(None, Reason.API_RULES_MISSING)
        try:
            rules = parse_api_rules(text.encode("utf-8", "surrogatepass"))
        except ScopeMapError as error:
            self._notice(f"the rules of API {api} cannot be used: {error}")
            return _Rules(text, Reason.API_RULES_MALFORMED)
        if not rules.audiences:
            self._notice(f"the rules of API {api} accept tokens for any audience")
        return _Rules(text, self._make_gate(rules))

    def _notice(self, text: str) -> None:
        self._emit(json.dumps({"notice": text}))


class MultiApiAuthorizer(BaseAuthorizer):
    """Decides on the events of many APIs, each by its own gate."""

    def __init__(
        self,
        gates: ApiAuthorizers,
        freshness: Mapping[str, Freshness],
        *,
        clocks: Clocks,
        emit: Callable[[str], None],
        meter: Meter | None = None,
    ) -> None:
        super().__init__(freshness, clocks=clocks, emit=emit, meter=meter)
        self._gates = gates

    def judge(self, event: Mapping[str, object], seconds: float) -> Decision:
        """Judge the event by the rules of its API."""
        deadline = self._monotonic() + seconds
        gate = self._gates.find(api_id(request.stage(event)), seconds)
        return gate.judge(event, self._left(deadline))
