"""Alarms of infra/operations.yaml, evaluated over real log lines."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache, cached_property, partial
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

import pytest

from authorizer import app as authorizer
from authorizer.authorizer import LambdaAuthorizer
from authorizer.errors import AuthorizerUnavailableError, Reason, Unauthorized
from authorizer.https_client import HttpExchangeError, Request, Response
from authorizer.metrics import METRICS as AUTHORIZER_METRICS
from authorizer.metrics import Meter, Metric
from authorizer.settings import Settings as AuthorizerSettings
from functions.issue_token import handler as issue_token
from functions.rotate_keys import handler as rotate_keys
from functions.rotate_keys.handler import METRICS as ROTATION_METRICS
from functions.rotate_keys.handler import Settings as RotateKeysSettings
from functions.rotate_keys.handler import run_and_log
from functions.rotate_keys.key_backends import KmsKeys
from functions.shared.metrics import METRICS as ENDPOINT_METRICS
from functions.shared.storage.errors import StorageUnavailableError
from functions.shared.web.oauth_errors import OAuthError
from infra.cloudformation import load
from tests.strictness.cases import CASES, ISSUER
from tests.strictness.cases import mint as mint_token
from tests.support.authorizer_events import decide
from tests.support.aws import ENVIRONMENT, KEY_RING_SECRET, AwsAccount
from tests.support.aws_faults import THROTTLED
from tests.support.aws_server import GRANT, AwsServer
from tests.support.clock import ManualClock
from tests.support.cloudwatch import Metrics, Operations, Series
from tests.support.deployed_template import Deployment
from tests.support.proxy_events import basic, proxy_event, token_event
from tests.support.server import SECRET, client, generate
from tests.support.tokens import NOW as TOKENS_NOW
from tests.support.tokens import claims, jwks, rest_event, rsa_jwk

T = TypeVar("T")

OPERATIONS = Path(__file__).resolve().parents[3] / "infra" / "operations.yaml"
STACK = "ours"
OF_THE_SAMPLE = ("LookUpCountry", "PublishResourceMetadata", "Authorizer", "GuardedApi")
MINUTE, HOUR, DAY = 60, 3600, 86_400
# In the middle of a day and of everything shorter, so that whole periods lie behind and ahead.
START = TOKENS_NOW // DAY * DAY + DAY // 2
TOKEN_REQUEST = token_event(GRANT, headers=basic("a", SECRET))
WRONG_SECRET = token_event(GRANT, headers=basic("a", "wrong"))


@cache
def operations(*, with_sample_api: bool = True) -> Operations:
    parameters = load(OPERATIONS)["Parameters"]
    names = {name: f"{STACK}-{name}" for name in parameters}
    sample = {} if with_sample_api else dict.fromkeys(OF_THE_SAMPLE, "")
    return Operations.of(OPERATIONS, {**names, **sample, "Stack": STACK, "AlarmTopicArn": "", "KeySigningDays": 30})


@dataclass
class Stack(AwsServer):
    """A stack with its log: token endpoint, rotation and authorizer, and AWS's own metrics."""

    metrics: Metrics = field(default_factory=Metrics)
    metrics_at_warn: Metrics = field(default_factory=Metrics)
    keys_are_out_of_reach: bool = False
    key_backend: str = "secrets-manager"
    timer: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.clock.now = START
        self.proxy = self.aws.proxy
        self.proxy.attach(self.aws.dynamodb, self.aws.secrets_manager, self.aws.kms)
        self.token_endpoint = self.build(issue_token, meter=self.meter())
        self.clients.put(client("a"))

    def slow_response(self, members: T) -> T:
        self.timer += 1.5
        return members

    def meter(self) -> Meter:
        return Meter(STACK, self.clock, lambda: self.timer)

    @cached_property
    def authorizer(self) -> LambdaAuthorizer:
        return authorizer.build(
            AuthorizerSettings.from_env({"ISSUER": ISSUER, "STACK_NAME": STACK}),
            clock=self.clock,
            monotonic=self.clock,
            send=self._send,
            emit=self.log.append,
        )

    def _send(self, request: Request) -> Response:
        if self.keys_are_out_of_reach:
            raise HttpExchangeError("down")
        return Response(200, {}, jwks(rsa_jwk()))

    def send(self, event: dict[str, Any], source: str = "192.0.2.7") -> int:
        event["requestContext"]["identity"]["sourceIp"] = source
        status = self.token_endpoint(event)["statusCode"]
        if status >= 500:
            self.count("AWS/ApiGateway", "5xx", "ApiId", "AuthServerApi")
        return status

    def decide(self, token: str) -> str:
        try:
            decide(self.authorizer, rest_event(token), 1)
        except Unauthorized:
            self.count("AWS/Lambda", "Errors", "FunctionName", "Authorizer")
            return "unauthorized"
        except AuthorizerUnavailableError:
            self.count("AWS/Lambda", "Errors", "FunctionName", "Authorizer")
            self.count("AWS/ApiGateway", "5XXError", "ApiName", "GuardedApi")
            return "error"
        return "decided"

    def rotate(self, **settings: str) -> None:
        given = {**ENVIRONMENT, "STACK_NAME": STACK, "KEY_EDITION": self.key_backend, **settings}
        rotator = rotate_keys.build(
            RotateKeysSettings.from_env(given),
            clock=self.clock,
            secrets=self.secrets,
            kms_keys=KmsKeys(self.aws, STACK),
            generate=generate,
        )
        try:
            run_and_log(rotator.run, self.log.append, self.meter())
        except StorageUnavailableError:
            self.count("AWS/Lambda", "Errors", "FunctionName", "RotateKeys")

    def count(self, namespace: str, name: str, dimension: str, of: str, value: float = 1) -> None:
        series = Series(namespace, name, frozenset({(dimension, f"{STACK}-{of}")}))
        self.metrics.put(series, value, self.clock())
        self.metrics_at_warn.put(series, value, self.clock())

    def run_hourly(self, hours: int, **settings: str) -> None:
        for _ in range(hours):
            self.clock.now += HOUR
            self.rotate(**settings)

    def each_minute(self, minutes: int, act: Callable[[], T], times: int = 1) -> list[T]:
        """Return what came of it, each time."""
        outcomes = []
        for _ in range(minutes):
            self.clock.now += MINUTE
            outcomes += [act() for _ in range(times)]
        return outcomes

    def alarms(self) -> set[str]:
        """The alarms that come on within five minutes from now."""
        self.metrics.read(self.log)
        self.metrics_at_warn.read(filter(_is_kept_at_warn, self.log))
        self.log.clear()
        return self._on(self.metrics)

    def alarms_at_warn(self) -> set[str]:
        """Return the alarms that are on with the lines of LogLevel=WARN."""
        return self._on(self.metrics_at_warn)

    def _on(self, metrics: Metrics) -> set[str]:
        watched = operations()
        minutes = range(MINUTE, 6 * MINUTE, MINUTE)
        return set().union(*(watched.on(metrics, self.clock() + later) for later in minutes))


def _is_kept_at_warn(line: str) -> bool:
    """RotateKeys always logs at INFO, because missing lines trigger an alarm."""
    members = json.loads(line)
    return "level" in members or members.get("function") == "rotate_keys"


@pytest.fixture
def stack(aws: AwsAccount, clock: ManualClock, no_pauses: None) -> Stack:
    made = Stack(aws, clock)
    made.rotate()
    made.run_hourly(3)
    return made


def good_token(stack: Stack) -> str:
    return mint_token(claims(stack.clock(), iss=ISSUER))


def test_invalid_requests_trigger_no_alarm(stack: Stack) -> None:
    stack.clock.now = float(TOKENS_NOW)  # the issue time of the invalid tokens
    bad_tokens = [case.make() for case in CASES]
    without_scope = mint_token(claims(TOKENS_NOW, iss=ISSUER, scope="none"))
    too_much = token_event({**GRANT, "scope": "admin"}, headers=basic("a", SECRET))
    outcomes: set[str] = set()
    statuses: set[int] = set()

    def send_invalid_requests() -> None:
        outcomes.update(stack.decide(token) for token in [*bad_tokens, without_scope])
        for number in range(5):
            statuses.add(stack.send(WRONG_SECRET, f"198.51.100.{number}"))
            statuses.add(stack.send(too_much))
            statuses.add(stack.send(token_event("grant_type=%ZZ")))
            statuses.add(stack.send(proxy_event("GET", "/oauth2/token")))

    statuses.update(stack.send(WRONG_SECRET) for _ in range(32))
    statuses.update(stack.send(token_event(text)) for text in ("", "grant_type=x", "client_id=a&client_secret=b"))
    stack.each_minute(4, send_invalid_requests)
    lines = [json.loads(line) for line in stack.log]
    decisions = {line["decision"] for line in lines if "decision" in line}
    assert {"unauthorized", "deny"} <= decisions
    assert "error" not in decisions
    assert outcomes == {"unauthorized", "decided"}
    assert statuses == {400, 401, 405, 429}
    assert len(lines) > 500
    # The clock was set back for the tokens, and no hours with rotations lie behind it.
    assert stack.alarms() == {"MissingRotation"}
    values: dict[str, set[str]] = {}
    for series in stack.metrics.values:
        for name, value in series.dimensions:
            values.setdefault(name, set()).add(value)
    # Callers cannot create metrics: the values of dimensions come from fixed lists.
    assert values["reason"] <= set(Reason)
    assert values["outcome"] <= {"success", "error", *_codes(OAuthError)}
    assert values["endpoint"] == {"issue_token"}
    assert values["decision"] <= {"allow", "deny", "unauthorized", "error"}


def test_new_stack_has_no_alarm(aws: AwsAccount, clock: ManualClock, no_pauses: None) -> None:
    made = Stack(aws, clock)
    assert made.alarms() == set()
    made.rotate()
    assert made.alarms() == set()
    made.each_minute(59, lambda: None)
    assert made.alarms() == set()
    made.run_hourly(3)
    assert made.alarms() == set()


def test_missing_rotations_notify_without_data() -> None:
    own = load(OPERATIONS)["Resources"]["MissingRotation"]["Properties"]
    assert own["InsufficientDataActions"] == own["AlarmActions"]
    assert own["TreatMissingData"] == "missing"


def _without_a_ring(stack: Stack) -> None:
    stack.aws.secrets_manager.put_secret_value(SecretId=KEY_RING_SECRET, SecretString="{}")
    assert stack.send(TOKEN_REQUEST) == 500


def _without_a_table(stack: Stack) -> None:
    stack.proxy.faults["GetItem"] = THROTTLED
    assert set(stack.each_minute(3, lambda: stack.send(TOKEN_REQUEST), times=5)) == {503}


def _without_keys_to_verify_with(stack: Stack) -> None:
    stack.keys_are_out_of_reach = True
    token = good_token(stack)
    assert set(stack.each_minute(4, lambda: stack.decide(token), times=5)) == {"error"}


def _with_an_old_key_set(stack: Stack) -> None:
    token = good_token(stack)
    assert stack.decide(token) == "decided"
    stack.keys_are_out_of_reach = True
    assert set(stack.each_minute(25, lambda: stack.decide(token))) == {"decided"}


def _without_counters(stack: Stack) -> None:
    stack.proxy.faults["UpdateItem"] = THROTTLED
    sources = (f"198.51.100.{number}" for number in count(1))
    guess = partial(stack.each_minute, 3, lambda: stack.send(WRONG_SECRET, next(sources)), times=5)
    assert set(guess()) == {429}


def _with_slow_kms(stack: Stack) -> None:
    stack.key_backend = "kms"
    stack.rotate()
    stack.run_hourly(26)
    stack.proxy.faults["Sign"] = stack.slow_response
    assert set(stack.each_minute(4, lambda: stack.send(TOKEN_REQUEST))) == {200}


def _with_failing_rotations(stack: Stack) -> None:
    stack.proxy.faults["GetSecretValue"] = THROTTLED
    stack.run_hourly(2)
    stack.proxy.faults.clear()
    stack.run_hourly(1)
    stack.clock.now += HOUR


def _without_rotations(stack: Stack) -> None:
    stack.clock.now += 4 * HOUR


def _with_a_key_that_stays(stack: Stack) -> None:
    """The rotation has a longer key lifetime than the alarm."""
    for _ in range(35):
        stack.clock.now += DAY
        stack.rotate(KEY_SIGNING_DAYS="60")
    stack.run_hourly(3, KEY_SIGNING_DAYS="60")


@dataclass(frozen=True)
class OfAws:
    """A metric of AWS's own that goes up."""

    namespace: str
    name: str
    dimension: str
    of: str
    value: float = 5

    def __call__(self, stack: Stack) -> None:
        stack.each_minute(15, lambda: stack.count(self.namespace, self.name, self.dimension, self.of, self.value))


FAILURES: dict[str, tuple[Callable[[Stack], None], set[str]]] = {
    "no key ring": (_without_a_ring, {"ServerErrors", "UnusableKeyRing"}),
    "no table": (_without_a_table, {"Unavailability", "AuthServer5xx"}),
    "no key set": (_without_keys_to_verify_with, {"AuthorizerErrors", "GuardedApi5xx"}),
    "an old key set": (_with_an_old_key_set, {"StaleKeySet"}),
    "failures that are not counted": (_without_counters, {"UncountedFailures"}),
    "slow KMS": (_with_slow_kms, {"SlowKms"}),
    "failing rotations": (_with_failing_rotations, {"FailingRotation"}),
    "no rotations": (_without_rotations, {"MissingRotation"}),
    "a key that stays": (_with_a_key_that_stays, {"OldSigningKey"}),
    "a crash": (OfAws("AWS/Lambda", "Errors", "FunctionName", "PublishJwks", 1), {"LambdaErrors"}),
    "no concurrency": (OfAws("AWS/Lambda", "Throttles", "FunctionName", "Authorizer"), {"LambdaThrottles"}),
    "slowness": (OfAws("AWS/Lambda", "Duration", "FunctionName", "IssueToken", 6000), {"SlowLambdas"}),
    "a gateway's timeouts": (OfAws("AWS/ApiGateway", "5xx", "ApiId", "AuthServerApi"), {"AuthServer5xx"}),
    "an authorizer that does not start": (
        OfAws("AWS/ApiGateway", "5XXError", "ApiName", "GuardedApi"),
        {"GuardedApi5xx"},
    ),
    "a hot table": (OfAws("AWS/DynamoDB", "WriteThrottleEvents", "TableName", "StateTable"), {"TableThrottles"}),
}


@pytest.mark.parametrize(("failure", "expected"), FAILURES.values(), ids=FAILURES)
def test_failure_triggers_only_its_alarm(stack: Stack, failure: Callable[[Stack], None], expected: set[str]) -> None:
    assert stack.alarms() == set()
    failure(stack)
    assert stack.alarms() == expected
    # How long KMS took is in lines about tokens that were issued.
    assert stack.alarms_at_warn() == expected - {"SlowKms"}


def test_each_alarm_has_a_failure_that_triggers_it() -> None:
    assert set().union(*(expected for _, expected in FAILURES.values())) == set(operations().alarms)


def test_nested_stack_gets_its_parameters() -> None:
    template = load(OPERATIONS.parents[1] / "template.yaml")
    nested = template["Resources"]["Operations"]["Properties"]
    assert nested["TemplateURL"] == "infra/operations.yaml"
    assert set(nested["Parameters"]) == set(load(OPERATIONS)["Parameters"])


def test_rotate_keys_always_logs_at_info() -> None:
    declared = {
        name: properties["LoggingConfig"]
        for name, properties in Deployment.of().properties("AWS::Lambda::Function").items()
    }
    levels = {name: logging["ApplicationLogLevel"] for name, logging in declared.items()}
    assert levels.pop("RotateKeys") == "INFO"
    assert all(level == {"Ref": "LogLevel"} for level in levels.values())
    assert {logging["LogFormat"] for logging in declared.values()} == {"JSON"}
    assert {logging["SystemLogLevel"] for logging in declared.values()} == {"WARN"}


ALL_METRICS: tuple[Metric, ...] = (*AUTHORIZER_METRICS, *ENDPOINT_METRICS, *ROTATION_METRICS)


def _series_names() -> set[tuple[str, str, frozenset[str]]]:
    return {
        ("Gatehouse", metric.name, frozenset({"stack", *members}))
        for metric in ALL_METRICS
        for members in metric.dimensions
    }


def test_alarms_and_dashboard_use_emitted_metrics() -> None:
    watched = {
        (series.namespace, series.name, frozenset(name for name, _ in series.dimensions))
        for alarm in operations().alarms.values()
        for series, _, _ in alarm.series()
    }
    shown = set(operations().shown())
    ours = {each for each in watched | shown if each[0] == "Gatehouse"}
    assert ours <= _series_names()
    assert _series_names() <= shown, "the dashboard shows every metric"


def test_no_sample_api_means_no_alarm_for_it() -> None:
    whole, less = operations(), operations(with_sample_api=False)
    assert whole.alarms.keys() - less.alarms.keys() == {"GuardedApi5xx"}
    series = {each for alarm in less.alarms.values() for each, _, _ in alarm.series()}
    assert all(value for each in series for _, value in each.dimensions), "of nothing"
    assert "GuardedApi" not in str(less.dashboard)
    assert '""' not in json.dumps(less.dashboard)
    widgets = [[widget["properties"]["title"] for widget in each.dashboard["widgets"]] for each in (whole, less)]
    assert widgets[0] == widgets[1]


def test_cost_page_bills_alarms_by_metric() -> None:
    full, less = (
        sum(len(alarm.series()) for alarm in operations(with_sample_api=each).alarms.values()) for each in (True, False)
    )
    page = (OPERATIONS.parents[1] / "docs" / "cost-and-limits.md").read_text(encoding="utf-8")
    assert f"{full} metrics with the sample API; {less} without" in page
    assert f"${full / 10:.2f}; ${less / 10:.2f}" in page


def _first_cells(page: str, heading: str) -> set[str]:
    section = page.split(f"\n## {heading}\n")[1].split("\n## ", maxsplit=1)[0]
    return {row.split("`")[1] for row in section.splitlines() if row.startswith("| `")}


def test_page_lists_every_metric_and_alarm() -> None:
    page = (OPERATIONS.parents[1] / "docs" / "operate.md").read_text(encoding="utf-8")
    assert _first_cells(page, "Metrics") == {metric.name for metric in ALL_METRICS}
    assert _first_cells(page, "Dashboard and alarms") == set(operations().alarms)


def test_dimension_values_come_from_a_fixed_list() -> None:
    """A dimension that callers choose would let them create metrics."""
    members = {name for metric in ALL_METRICS for names in metric.dimensions for name in names}
    assert members == {"endpoint", "outcome", "decision", "reason"}


def _codes(kind: type[OAuthError]) -> Iterator[str]:
    for each in kind.__subclasses__():
        yield each.code
        yield from _codes(each)
