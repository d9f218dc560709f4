"""One authorizer for many APIs: loading, caching and failures of rules."""

import json

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
    sandbox.rules.by_api[ORDERS] = rules("orders.read")
    sandbox.rules.by_api[STOCK] = rules("stock.read")
    for _ in range(2):
        assert sandbox.result(ORDERS, token(scope="orders.read")) == "allow"
        assert sandbox.result(STOCK, token(scope="orders.read")) == "deny"
        assert sandbox.result(STOCK, token(scope="stock.read")) == "allow"
        assert sandbox.result(STOCK, token(scope="stock.read"), "/other") == "deny"
    assert sandbox.rules.loaded == [ORDERS, STOCK]


@pytest.mark.parametrize("member", ["methodArn", "routeArn"])
def test_api_id_comes_from_the_arn(member: str) -> None:
    sandbox = Sandbox()
    sandbox.rules.by_api[ORDERS] = rules("read")
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
    sandbox.rules.by_api[ORDERS] = rules(audience=ORDERS_API)
    sandbox.rules.by_api[STOCK] = rules(audience=[STOCK_API, "stock"])
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
    sandbox.rules.by_api[ORDERS] = rules(audience=ORDERS_API)
    sandbox.rules.by_api[STOCK] = rules(audience=STOCK_API)
    for _ in range(2):
        assert sandbox.result(ORDERS, "opaque") == "allow"
        assert sandbox.result(STOCK, "opaque") == "unauthorized: aud_other"


def test_audience_applies_to_every_issuer() -> None:
    said = {OTHER_ISSUER: {"jwks_uri": f"{OTHER_ISSUER}/keys", "audience": "anything-of-ours"}}
    sandbox = Sandbox(OTHER_ISSUERS=json.dumps(said))
    sandbox.rules.by_api[ORDERS] = rules(audience=ORDERS_API)
    sandbox.rules.by_api[STOCK] = rules()

    def theirs(audience: str) -> str:
        payload = claims(NOW, iss=OTHER_ISSUER, scope="read", aud=audience)
        return forge(payload=payload, key=rsa_key("other"))

    assert sandbox.result(ORDERS, theirs(ORDERS_API)) == "allow"
    assert sandbox.result(ORDERS, theirs("anything-of-ours")) == "unauthorized: aud_other"
    assert sandbox.result(STOCK, theirs("anything-of-ours")) == "allow"
    assert sandbox.result(STOCK, theirs(ORDERS_API)) == "unauthorized: aud_other"


def test_rules_without_audience_are_rejected() -> None:
    sandbox = Sandbox()
    sandbox.rules.by_api[ORDERS] = '{"scopes": {"read": ["GET /things"]}}'
    assert sandbox.result(ORDERS, token()) == "error: api_rules_malformed"
    (notice,) = sandbox.notices()
    assert 'write "audience": "*"' in notice


def test_any_audience_is_reported_once() -> None:
    sandbox = Sandbox()
    sandbox.rules.by_api[ORDERS] = rules(audience="*")
    for audience in ("one", "two", ["three", "four"], ...):
        assert sandbox.result(ORDERS, token(aud=audience)) == "allow"
    assert sandbox.notices() == [f"the rules of API {ORDERS} accept tokens for any audience"]


def test_api_without_rules_is_a_500() -> None:
    sandbox = Sandbox()
    assert sandbox.result(ORDERS, token()) == "error: api_rules_missing"
    assert sandbox.result(ORDERS, token()) == "error: api_rules_missing"
    assert sandbox.rules.loaded == [ORDERS]
    sandbox.clock.advance(5)
    assert sandbox.result(ORDERS, token()) == "error: api_rules_missing"
    assert sandbox.notices() == [f"API {ORDERS} has no rules"]
    sandbox.rules.by_api[ORDERS] = rules()
    sandbox.clock.advance(5)
    assert sandbox.result(ORDERS, token()) == "allow"


@pytest.mark.parametrize("text", ["", "{", '{"scopes":{"read":["ANY /x"]}}', "\ud800"])
def test_invalid_rules_close_the_api_with_a_notice(text: str) -> None:
    sandbox = Sandbox()
    sandbox.rules.by_api[ORDERS] = rules()
    assert sandbox.result(ORDERS, token()) == "allow"
    sandbox.rules.by_api[ORDERS] = text
    sandbox.clock.advance(300)
    for _ in range(3):
        assert sandbox.result(ORDERS, token()) == "error: api_rules_malformed"
        sandbox.clock.advance(5)
    (_, notice) = sandbox.notices()
    assert notice.startswith(f"the rules of API {ORDERS} cannot be used: ")
    sandbox.rules.by_api[ORDERS] = rules()
    assert sandbox.result(ORDERS, token()) == "allow"


def test_new_rules_apply_after_the_soft_age() -> None:
    sandbox = Sandbox()
    sandbox.rules.by_api[ORDERS] = rules()
    assert sandbox.result(ORDERS, token()) == "allow"
    sandbox.rules.by_api[ORDERS] = rules("write")
    sandbox.clock.advance(299.9)
    assert sandbox.result(ORDERS, token()) == "allow"
    sandbox.clock.advance(0.1)
    assert sandbox.result(ORDERS, token()) == "deny"
    del sandbox.rules.by_api[ORDERS]
    sandbox.clock.advance(300)
    assert sandbox.result(ORDERS, token()) == "error: api_rules_missing"


def test_stale_rules_serve_an_outage() -> None:
    sandbox = Sandbox()
    sandbox.rules.by_api[ORDERS] = rules()
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
        sandbox.rules.by_api[ORDERS] = text
        assert sandbox.result(ORDERS, token()) == "allow"
        assert len(sandbox.notices()) == times_parsed  # one for each parsed text with the audience *
        sandbox.clock.advance(300)


def test_least_recently_used_rules_are_reloaded() -> None:
    sandbox = Sandbox()
    apis = [f"api{number}" for number in range(65)]
    for api in apis:
        sandbox.rules.by_api[api] = rules()
        assert sandbox.result(api, token()) == "allow"
    assert sandbox.result(apis[-1], token()) == "allow"
    assert sandbox.rules.loaded == apis
    assert sandbox.result(apis[0], token()) == "allow"
    assert sandbox.rules.loaded == [*apis, apis[0]]


def test_rules_are_the_latest_parameter_of_their_api(ssm: SSMClient) -> None:
    source = ParameterStore(PATH, AwsClient(3))
    assert source.read(ORDERS, Deadline(10)) is None
    for api, text in ((ORDERS, "first"), (STOCK, "another"), (ORDERS, "second")):
        ssm.put_parameter(Name=f"{PATH}/{api}", Value=text, Type="String", Overwrite=True)
    assert [source.read(api, Deadline(10)) for api in (ORDERS, STOCK)] == ["second", "another"]


@pytest.mark.usefixtures("no_aws")
def test_unreadable_parameter_response_is_an_error() -> None:
    sandbox = Sandbox(ParameterStore(PATH, AwsClient(3)))
    assert sandbox.result(ORDERS, token()) == "error: api_rules_unavailable"
