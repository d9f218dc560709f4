"""One authorizer for many APIs: loading, caching and failures of rules."""

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Protocol

import pytest
from mypy_boto3_ssm import SSMClient

from authorizer.aws_client import AwsClient
from authorizer.clock import Deadline
from authorizer.errors import AuthorizerUnavailableError, Reason, RulesUnavailableError, Unauthorized
from authorizer.https_client import Request, Response
from authorizer.introspection import Credentials
from authorizer.multi_api import ParameterStore, RulesSource
from local.addresses import LAPTOP
from tests.support import authorizer_sandbox
from tests.support.policies import allows
from tests.support.tokens import ISSUER, NOW, claims, forge, mint, rest_event, rsa_jwk, rsa_key

PATH = f"/gatehouse/{LAPTOP.stack_name}/apis"
ORDERS, STOCK = "orders1234", "stock56789"
ORDERS_API, STOCK_API = "https://orders.example", "https://stock.example"
OTHER_ISSUER = "https://other.example.com"


def stage(api: str) -> str:
    return f"arn:aws:execute-api:eu-west-1:123456789012:{api}/live"


def rules(scope: str = "read", route: str = "GET /things", **members: object) -> str:
    return json.dumps({"scopes": {scope: [route]}, "audience": "*", **members})


class MemoryRules:
    """Rules in memory. It counts loads, and can be unavailable."""

    def __init__(self) -> None:
        self.by_api: dict[str, str] = {}
        self.loaded: list[str] = []
        self.down = False

    def read(self, api: str, deadline: Deadline) -> str | None:
        self.loaded.append(api)
        if self.down:
            raise RulesUnavailableError(Reason.API_RULES_UNAVAILABLE)
        return self.by_api.get(api)

    def put(self, api: str, text: str) -> None:
        self.by_api[api] = text


class Sandbox(authorizer_sandbox.Sandbox):
    """A shared authorizer with its rules, and two issuers."""

    def __init__(self, source: RulesSource | None = None, **environ: str) -> None:
        self.rules = MemoryRules()
        parts = {
            "jitter": lambda: 0,
            "credential_source": lambda _renew, _deadline: Credentials("authorizer", "secret"),
            "rules_source": source or self.rules,
        }
        super().__init__(parts, **{"API_RULES": PATH} | environ)
        self.introspected = {"active": True, "client_id": "c", "scope": "read", "aud": ORDERS_API}

    def send(self, request: Request) -> Response:
        self.keys = [rsa_jwk(key=rsa_key("other") if request.url.startswith(OTHER_ISSUER) else rsa_key())]
        return super().send(request)

    def result(self, api: str, token: str, path: str = "/things") -> str:
        """Return `allow` or `deny`, or the logged reason if there is neither."""
        event = rest_event(token, methodArn=f"{stage(api)}/GET{path}")
        try:
            answer = self.decide(event)
        except (Unauthorized, AuthorizerUnavailableError):
            return f"{self.last_line()['decision']}: {self.last_line()['reason']}"
        return "allow" if allows(answer["policyDocument"], f"{stage(api)}/GET{path}") else "deny"

    def notices(self) -> list[str]:
        return [line["notice"] for line in map(json.loads, self.log) if "notice" in line]


def token(**changes: object) -> str:
    return mint(claims(NOW, **{"scope": "read", **changes}))


def test_each_api_has_its_own_rules() -> None:
    sandbox = Sandbox()
    sandbox.rules.put(ORDERS, rules("orders.read"))
    sandbox.rules.put(STOCK, rules("stock.read"))
    for _ in range(2):
        assert sandbox.result(ORDERS, token(scope="orders.read")) == "allow"
        assert sandbox.result(STOCK, token(scope="orders.read")) == "deny"
        assert sandbox.result(STOCK, token(scope="stock.read")) == "allow"
        assert sandbox.result(STOCK, token(scope="stock.read"), "/other") == "deny"
    assert sandbox.rules.loaded == [ORDERS, STOCK]


def test_loading_rules_does_not_block_other_apis() -> None:
    class SlowForOrders(MemoryRules):
        def read(self, api: str, deadline: Deadline) -> str | None:
            if api == ORDERS:
                concurrent.append(sandbox.result(STOCK, token()))
            return super().read(api, deadline)

    concurrent: list[str] = []
    source = SlowForOrders()
    source.put(ORDERS, rules())
    source.put(STOCK, rules())
    sandbox = Sandbox(source)
    assert sandbox.result(ORDERS, token()) == "allow"
    assert concurrent == ["allow"]


@pytest.mark.parametrize("member", ["methodArn", "routeArn"])
def test_api_id_comes_from_the_arn(member: str) -> None:
    sandbox = Sandbox()
    sandbox.rules.put(ORDERS, rules("read"))
    event = rest_event(token(), **{"methodArn": None, member: f"{stage(ORDERS)}/GET/things"})
    event["requestContext"]["apiId"] = STOCK
    event["headers"]["Host"] = f"{STOCK}.execute-api.eu-west-1.amazonaws.com"
    assert sandbox.decide(event)
    assert sandbox.rules.loaded == [ORDERS]


def test_event_without_arn_loads_nothing() -> None:
    sandbox = Sandbox()
    with pytest.raises(AuthorizerUnavailableError):
        sandbox.decide(rest_event(token(), methodArn="arn:aws:s3:::../../x"))
    assert sandbox.rules.loaded == []


def test_cached_token_does_not_open_another_api() -> None:
    sandbox = Sandbox()
    sandbox.rules.put(ORDERS, rules(audience=ORDERS_API))
    sandbox.rules.put(STOCK, rules(audience=[STOCK_API, "stock"]))
    for_orders, for_stock, for_both = (token(aud=aud) for aud in (ORDERS_API, "stock", [ORDERS_API, STOCK_API]))
    for _ in range(2):
        assert sandbox.result(ORDERS, for_orders) == "allow"
        assert sandbox.result(STOCK, for_orders) == "unauthorized: aud_other"
        assert sandbox.result(STOCK, for_stock) == "allow"
        assert sandbox.result(ORDERS, for_stock) == "unauthorized: aud_other"
        assert sandbox.result(ORDERS, for_both) == sandbox.result(STOCK, for_both) == "allow"
        assert sandbox.result(STOCK, token(aud=...)) == "unauthorized: aud_missing"
    assert [request.method for request in sandbox.requests] == ["GET"]  # one key set for all APIs


def test_opaque_token_does_not_open_another_api() -> None:
    sandbox = Sandbox(INTROSPECTION_URI=f"{ISSUER}/i", INTROSPECTION_SECRET_ARN="arn")
    sandbox.rules.put(ORDERS, rules(audience=ORDERS_API))
    sandbox.rules.put(STOCK, rules(audience=STOCK_API))
    for _ in range(2):
        assert sandbox.result(ORDERS, "opaque") == "allow"
        assert sandbox.result(STOCK, "opaque") == "unauthorized: aud_other"


def test_audience_applies_to_every_issuer() -> None:
    said = {OTHER_ISSUER: {"jwks_uri": f"{OTHER_ISSUER}/keys", "audience": "anything-of-ours"}}
    sandbox = Sandbox(OTHER_ISSUERS=json.dumps(said))
    sandbox.rules.put(ORDERS, rules(audience=ORDERS_API))
    sandbox.rules.put(STOCK, rules())

    def theirs(audience: str) -> str:
        payload = claims(NOW, iss=OTHER_ISSUER, scope="read", aud=audience)
        return forge(payload=payload, key=rsa_key("other"))

    assert sandbox.result(ORDERS, theirs(ORDERS_API)) == "allow"
    assert sandbox.result(ORDERS, theirs("anything-of-ours")) == "unauthorized: aud_other"
    assert sandbox.result(STOCK, theirs("anything-of-ours")) == "allow"
    assert sandbox.result(STOCK, theirs(ORDERS_API)) == "unauthorized: aud_other"


def test_rules_without_audience_are_rejected() -> None:
    sandbox = Sandbox()
    sandbox.rules.put(ORDERS, '{"scopes": {"read": ["GET /things"]}}')
    assert sandbox.result(ORDERS, token()) == "error: api_rules_malformed"
    (notice,) = sandbox.notices()
    assert 'write "audience": "*"' in notice


def test_any_audience_is_reported_once() -> None:
    sandbox = Sandbox()
    sandbox.rules.put(ORDERS, rules(audience="*"))
    for audience in ("one", "two", ["three", "four"], ...):
        assert sandbox.result(ORDERS, token(aud=audience)) == "allow"
    assert sandbox.notices() == [f"the rules of API {ORDERS} accept tokens for any audience"]


def test_any_audience_excludes_other_issuers() -> None:
    said = {OTHER_ISSUER: {"jwks_uri": f"{OTHER_ISSUER}/keys", "audience": "theirs"}}
    sandbox = Sandbox(OTHER_ISSUERS=json.dumps(said))
    sandbox.rules.put(ORDERS, rules(audience="*"))
    for audience, outcome in (("theirs", "allow"), (ORDERS_API, "unauthorized: aud_other")):
        payload = claims(NOW, iss=OTHER_ISSUER, scope="read", aud=audience)
        assert sandbox.result(ORDERS, forge(payload=payload, key=rsa_key("other"))) == outcome


def test_api_without_rules_is_a_500() -> None:
    sandbox = Sandbox()
    assert sandbox.result(ORDERS, token()) == "error: api_rules_missing"
    assert sandbox.result(ORDERS, token()) == "error: api_rules_missing"
    assert sandbox.rules.loaded == [ORDERS]
    sandbox.clock.advance(5)
    assert sandbox.result(ORDERS, token()) == "error: api_rules_missing"
    assert sandbox.notices() == [f"API {ORDERS} has no rules"]
    sandbox.rules.put(ORDERS, rules())
    sandbox.clock.advance(5)
    assert sandbox.result(ORDERS, token()) == "allow"


@pytest.mark.parametrize("text", ["", "{", '{"scopes":{"read":["ANY /x"]}}', "\ud800"])
def test_invalid_rules_close_the_api_with_a_notice(text: str) -> None:
    sandbox = Sandbox()
    sandbox.rules.put(ORDERS, rules())
    assert sandbox.result(ORDERS, token()) == "allow"
    sandbox.rules.put(ORDERS, text)
    sandbox.clock.advance(300)
    for _ in range(3):
        assert sandbox.result(ORDERS, token()) == "error: api_rules_malformed"
        sandbox.clock.advance(5)
    (_, notice) = sandbox.notices()
    assert notice.startswith(f"the rules of API {ORDERS} cannot be used: ")
    sandbox.rules.put(ORDERS, rules())
    assert sandbox.result(ORDERS, token()) == "allow"


def test_new_rules_apply_after_the_soft_age() -> None:
    sandbox = Sandbox()
    sandbox.rules.put(ORDERS, rules())
    assert sandbox.result(ORDERS, token()) == "allow"
    sandbox.rules.put(ORDERS, rules("write"))
    sandbox.clock.advance(299.9)
    assert sandbox.result(ORDERS, token()) == "allow"
    sandbox.clock.advance(0.1)
    assert sandbox.result(ORDERS, token()) == "deny"
    del sandbox.rules.by_api[ORDERS]
    sandbox.clock.advance(300)
    assert sandbox.result(ORDERS, token()) == "error: api_rules_missing"


def test_stale_rules_serve_an_outage() -> None:
    sandbox = Sandbox()
    sandbox.rules.put(ORDERS, rules())
    assert sandbox.result(ORDERS, token()) == "allow"
    sandbox.rules.down = True
    sandbox.clock.advance(3599.9)
    assert sandbox.result(ORDERS, token()) == "allow"
    sandbox.clock.advance(0.1)
    assert sandbox.result(ORDERS, token()) == "error: api_rules_unavailable"
    sandbox.rules.down = False
    sandbox.clock.advance(2)
    assert sandbox.result(ORDERS, token()) == "allow"


def test_unknown_api_during_outage_is_one_attempt() -> None:
    sandbox = Sandbox()
    sandbox.rules.down = True
    for api in (ORDERS, ORDERS, STOCK):
        assert sandbox.result(api, token()) == "error: api_rules_unavailable"
    assert sandbox.rules.loaded == [ORDERS]  # then the store is left alone for a second


def test_unchanged_rules_retain_verified_tokens() -> None:
    sandbox = Sandbox()
    for text, times_parsed in ((rules(), 1), (rules(), 1), (rules() + " ", 2)):
        sandbox.rules.put(ORDERS, text)
        assert sandbox.result(ORDERS, token()) == "allow"
        assert len(sandbox.notices()) == times_parsed  # one for each parsed text with the audience *
        sandbox.clock.advance(300)


def test_least_recently_used_rules_are_reloaded() -> None:
    sandbox = Sandbox()
    apis = [f"api{number}" for number in range(65)]
    for api in apis:
        sandbox.rules.put(api, rules())
        assert sandbox.result(api, token()) == "allow"
    assert sandbox.result(apis[-1], token()) == "allow"
    assert sandbox.rules.loaded == apis
    assert sandbox.result(apis[0], token()) == "allow"
    assert sandbox.rules.loaded == [*apis, apis[0]]


# --- Both sources of rules have the same contract ---


class Rules(Protocol):
    def read(self, api: str, deadline: Deadline) -> str | None: ...
    def put(self, api: str, text: str) -> None: ...


class StoredRules(ParameterStore):
    """Rules in Systems Manager, written by their owners."""

    def __init__(self, ssm: SSMClient) -> None:
        super().__init__(PATH, AwsClient(3))
        self._ssm = ssm

    def put(self, api: str, text: str) -> None:
        name = f"{PATH}/{api}"
        self._ssm.put_parameter(Name=name, Value=text, Type="String", Overwrite=True)


@pytest.fixture(params=["memory", "parameters"])
def source(request: pytest.FixtureRequest) -> Iterator[Rules]:
    if request.param == "memory":
        yield MemoryRules()
    else:
        yield StoredRules(request.getfixturevalue("ssm"))


def test_source_returns_the_latest_parameter(source: Rules) -> None:
    assert source.read(ORDERS, Deadline(10)) is None
    source.put(ORDERS, "first")
    source.put(STOCK, "another")
    source.put(ORDERS, "second")
    assert source.read(ORDERS, Deadline(10)) == "second"
    assert source.read(STOCK, Deadline(10)) == "another"


def test_rules_of_a_parameter_open_routes(ssm: SSMClient) -> None:
    store = StoredRules(ssm)
    store.put(ORDERS, rules(audience=ORDERS_API))
    sandbox = Sandbox(store)
    assert sandbox.result(ORDERS, token(aud=ORDERS_API)) == "allow"
    assert sandbox.result(STOCK, token(aud=ORDERS_API)) == "error: api_rules_missing"


def test_unreachable_parameter_store_is_an_error(ssm: SSMClient, monkeypatch: pytest.MonkeyPatch) -> None:
    # This port is closed.
    monkeypatch.setenv("AWS_ENDPOINT_URL_SSM", "http://127.0.0.1:9")
    sandbox = Sandbox(ParameterStore(PATH, AwsClient(3)))
    assert sandbox.result(ORDERS, token()) == "error: api_rules_unavailable"


@pytest.mark.usefixtures("no_aws")
def test_unreadable_parameter_response_is_an_error() -> None:
    sandbox = Sandbox(ParameterStore(PATH, AwsClient(3)))
    assert sandbox.result(ORDERS, token()) == "error: api_rules_unavailable"


def test_aws_client_is_created_lazily() -> None:
    code = (
        "import sys; from authorizer.app import build; "
        "from authorizer.settings import Settings; "
        f"build(Settings.from_env({{'ISSUER': {ISSUER!r}, 'API_RULES': '/apis'}}), emit=len); "
        "print('boto3' in sys.modules)"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout
    assert output.strip() == "False"
