"""Region, endpoints and credentials from the environment."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path
from threading import Event

import botocore.session
import pytest
from botocore.endpoint_provider import EndpointProvider

from authorizer.aws import AwsError, AwsUnavailableError
from authorizer.aws_environment import Credentials, EnvironmentCredentials, endpoint, region
from authorizer.clock import Deadline
from authorizer.https_client import Request, Response, send
from tests.support.answers_server import AnswersServer, ReceivedRequest, Reply, answers_server
from tests.support.clock import ManualClock
from tests.support.tokens import NOW

SERVICES = ("dynamodb", "kms", "secretsmanager", "ssm")


def test_endpoints_equal_those_of_botocore() -> None:
    """In every region that botocore knows, except for combinations that no endpoint has."""
    session = botocore.session.Session()
    regions = {
        (partition, found)
        for partition in session.get_available_partitions()
        for service in SERVICES
        for found in session.get_available_regions(service, partition)
    }
    assert {partition for partition, _ in regions} == set(session.get_available_partitions())
    loader = session.get_component("data_loader")
    partitions = loader.load_data("partitions")
    for service in SERVICES:
        rules = EndpointProvider(loader.load_service_model(service, "endpoint-rule-set-1"), partitions)
        for fips, dual_stack in product((False, True), repeat=2):
            environ = {"AWS_USE_FIPS_ENDPOINT": str(fips), "AWS_USE_DUALSTACK_ENDPOINT": str(dual_stack)}
            for partition, name in regions:
                if not dual_stack or not ("-iso" in partition or (fips and partition == "aws-cn")):
                    expected = rules.resolve_endpoint(Region=name, UseFIPS=fips, UseDualStack=dual_stack)
                    assert endpoint(service, name, environ) == expected.url


@pytest.mark.parametrize("service", SERVICES)
def test_configured_endpoints_come_first(service: str) -> None:
    own = "AWS_ENDPOINT_URL_" + {"secretsmanager": "SECRETS_MANAGER"}.get(service, service.upper())
    environ = {"AWS_ENDPOINT_URL": "http://aws:4566/", "AWS_USE_FIPS_ENDPOINT": "true"}
    assert endpoint(service, "eu-west-1", environ) == "http://aws:4566"
    assert endpoint(service, "eu-west-1", {**environ, own: "https://other"}) == "https://other"
    environ |= {own: "https://other", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true"}
    assert endpoint(service, "eu-west-1", environ) == f"https://{service}-fips.eu-west-1.amazonaws.com"


def test_malformed_endpoint_is_an_error() -> None:
    for url in ("localhost:4566", "ftp://aws", "https://user@aws", "https://aws/?a=b"):
        with pytest.raises(AwsError, match="InvalidEndpointUrl"):
            endpoint("kms", "eu-west-1", {"AWS_ENDPOINT_URL": url})


def test_region_is_that_of_the_environment() -> None:
    assert region({"AWS_DEFAULT_REGION": "eu-west-1", "AWS_REGION": "us-east-1"}) == "eu-west-1"
    assert region({"AWS_REGION": "us-east-1"}) == "us-east-1"
    with pytest.raises(AwsError, match="NoRegionError"):
        region({})


@pytest.mark.parametrize(
    "name", ["x.example/", "x.example", "eu@example", "eu:80", "-eu", "eu-", "eu\n", "é", "e" * 64]
)
def test_region_is_a_part_of_a_host_name(name: str) -> None:
    with pytest.raises(AwsError, match="InvalidRegionError"):
        region({"AWS_REGION": name})


@pytest.fixture
def server() -> Iterator[AnswersServer]:
    with answers_server() as started:
        yield started


def _answer(expiration: str = "2100-01-01T00:00:00Z", **changes: object) -> Reply:
    members = {"AccessKeyId": "A", "SecretAccessKey": "S", "Token": "T", "Expiration": expiration}
    return Reply(200, json.dumps({**members, **changes}))


class Sandbox:
    """Credentials of a container whose endpoint is the server."""

    def __init__(self, server: AnswersServer, **environ: str) -> None:
        self.clock = ManualClock()
        url = {"AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{server.url}/creds"}
        self.credentials = EnvironmentCredentials({**url, **environ}, send, self.clock)

    def get(self) -> Credentials:
        return self.credentials.get(Deadline(3))


def test_access_keys_come_first(server: AnswersServer) -> None:
    keys = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "s"}
    assert Sandbox(server, **keys).get() == ("a", "s", "", "")
    assert Sandbox(server, **keys, AWS_SESSION_TOKEN="t").get() == ("a", "s", "t", "")
    assert not server.received


def test_no_credentials_is_an_error() -> None:
    with pytest.raises(AwsError) as error:
        EnvironmentCredentials({}, send, ManualClock()).get(Deadline(3))
    assert error.value.reason == "NoCredentialsError"
    assert not isinstance(error.value, AwsUnavailableError)


def test_container_credentials_are_fetched_once(server: AnswersServer) -> None:
    server.answers["GET /creds"] = _answer()
    sandbox = Sandbox(server, AWS_CONTAINER_AUTHORIZATION_TOKEN="proof")
    assert [sandbox.get() for _ in range(3)] == [("A", "S", "T", "2100-01-01T00:00:00Z")] * 3
    assert [request.headers["Authorization"] for request in server.received] == ["proof"]


def test_authorization_token_is_read_again_from_its_file(server: AnswersServer, tmp_path: Path) -> None:
    server.answers["GET /creds"] = _answer()
    file = tmp_path / "token"
    sandbox = Sandbox(server, AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE=str(file))
    for token in ("one", "two"):
        file.write_text(f"{token}\n")
        sandbox.get()
        assert sandbox.credentials.forget()
    assert [request.headers["Authorization"] for request in server.received] == ["one", "two"]


def test_container_credentials_are_refreshed_before_they_expire(server: AnswersServer) -> None:
    sandbox, expires = Sandbox(server), "2023-11-14T22:13:20Z"  # 1,700,000,000
    server.answers["GET /creds"] = _answer(expires)
    sandbox.clock.now = 1_700_000_000 - 302
    sandbox.get()
    sandbox.clock.now += 1
    sandbox.get()
    assert len(server.received) == 1
    server.answers["GET /creds"] = Reply(500)
    sandbox.clock.now = 1_700_000_000 - 1
    assert sandbox.get().expiration == expires
    server.answers["GET /creds"] = _answer()
    assert sandbox.get().expiration == "2100-01-01T00:00:00Z"


def test_expired_credentials_are_not_used(server: AnswersServer) -> None:
    sandbox = Sandbox(server)
    server.answers["GET /creds"] = _answer("2023-11-14T22:13:20Z")
    sandbox.clock.now = 1_700_000_000 - 400
    sandbox.get()
    server.answers["GET /creds"] = Reply(500)
    sandbox.clock.now = 1_700_000_000
    with pytest.raises(AwsUnavailableError):
        sandbox.get()


@pytest.mark.parametrize(
    "answer",
    [
        Reply(403, _answer().body),
        Reply(200, "<html>"),
        Reply(200, "[]"),
        Reply(200, '"x"'),
        _answer(AccessKeyId=7),
        _answer(Token=""),
        Reply(200, '{"AccessKeyId": "A"}'),
    ],
)
def test_unreadable_container_response_is_unavailable(server: AnswersServer, answer: Reply) -> None:
    server.answers["GET /creds"] = answer
    with pytest.raises(AwsUnavailableError) as error:
        Sandbox(server, AWS_CONTAINER_AUTHORIZATION_TOKEN="proof").get()
    assert error.value.reason == "CredentialRetrievalError"
    assert error.value.__cause__ is None


def container_request(**environ: str) -> Request:
    """Return the request for credentials, sent by a client that has no restriction of its own."""
    sent: list[Request] = []

    def answer(request: Request) -> Response:
        sent.append(request)
        return Response(200, {}, _answer().body.encode())

    variables = {f"AWS_CONTAINER_{name}": value for name, value in environ.items()}
    EnvironmentCredentials(variables, answer, lambda: NOW).get(Deadline(3))
    return sent[0]


@pytest.mark.parametrize("url", ["http://192.0.2.1/creds", "http://169.254.170.2.example/", "ftp://localhost/", "x"])
def test_credentials_are_not_fetched_from_other_hosts_without_tls(url: str) -> None:
    with pytest.raises(AwsUnavailableError):
        container_request(CREDENTIALS_FULL_URI=url)


@pytest.mark.parametrize(
    "url", ["https://192.0.2.1/creds", "http://localhost:9/", "http://169.254.170.23/v1", "http://[fd00:ec2::23]/v1"]
)
def test_credentials_are_fetched_from_endpoints_of_containers(url: str) -> None:
    assert container_request(CREDENTIALS_FULL_URI=url, AUTHORIZATION_TOKEN="proof").url == url


def test_credentials_of_ecs_have_a_path() -> None:
    request = container_request(CREDENTIALS_RELATIVE_URI="/v2/creds", CREDENTIALS_FULL_URI="http://localhost/")
    assert request.url == "http://169.254.170.2/v2/creds"


def hanging(server: AnswersServer) -> Event:
    """Let the endpoint respond when the event is set."""
    finish = Event()

    def respond(_: ReceivedRequest) -> Reply:
        assert finish.wait(10)
        return _answer()

    server.answers["GET /creds"] = respond
    return finish


def test_late_refresh_leaves_time_for_the_call(server: AnswersServer) -> None:
    server.answers["GET /creds"] = _answer("2023-11-14T22:13:20Z")
    sandbox, deadline = Sandbox(server), Deadline(0.4)
    sandbox.clock.now = 1_700_000_000 - 400
    first = sandbox.get()
    sandbox.clock.now += 200
    finish = hanging(server)
    assert sandbox.credentials.get(deadline) == first
    assert deadline.remaining() > 0
    finish.set()


def test_callers_wait_for_a_concurrent_fetch_until_their_deadline(server: AnswersServer) -> None:
    finish, sandbox = hanging(server), Sandbox(server)
    with ThreadPoolExecutor(1) as threads:
        fetching = threads.submit(sandbox.get)
        while not server.received:
            pass
        with pytest.raises(AwsUnavailableError, match="CredentialRetrievalError"):
            sandbox.credentials.get(Deadline(0.05))
        assert not fetching.done()
        finish.set()
        assert sandbox.get() == fetching.result()
    assert len(server.received) == 1


def test_unreadable_token_file_is_unavailable(server: AnswersServer, tmp_path: Path) -> None:
    with pytest.raises(AwsUnavailableError):
        Sandbox(server, AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE=str(tmp_path)).get()
    assert server.received == list[ReceivedRequest]()
