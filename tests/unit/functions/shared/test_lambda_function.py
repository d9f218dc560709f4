from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from functions.introspect_token.handler import Settings as IntrospectToken
from functions.issue_token.handler import Settings as IssueToken
from functions.publish_jwks.handler import Settings as PublishJwks
from functions.publish_metadata.handler import Settings as PublishMetadata
from functions.shared.authorization_server import ServerSettings as RevokeToken
from functions.shared.lambda_function import (
    EnvironmentSettings,
    Event,
    LambdaHandler,
    MissingSettingsError,
    WarmInstance,
    on_first_use,
)
from tests.support.aws import ENVIRONMENT, ISSUER


def test_instance_is_built_once_lazily() -> None:
    made: list[object] = []

    def make() -> object:
        made.append(object())
        return made[-1]

    warm = WarmInstance(make)
    assert not made
    with ThreadPoolExecutor(8) as threads:
        got = set(threads.map(lambda _: warm(), range(50)))
    assert got == set(made)
    assert len(made) == 1


def test_failed_build_is_retried() -> None:
    results: Iterator[str | Exception] = iter([ValueError("not yet"), "thing"])

    def make() -> str:
        result = next(results)
        if isinstance(result, Exception):
            raise result
        return result

    warm = WarmInstance(make)
    with pytest.raises(ValueError, match="not yet"):
        warm()
    assert warm() == "thing"


def test_cleared_instance_is_rebuilt() -> None:
    warm = WarmInstance(object)
    first = warm()
    warm.reset()
    assert warm() is not first


class Function:
    """A function with a preparation."""

    def __init__(self) -> None:
        self.prepared = 0

    def __call__(self, event: Event) -> int:
        return self.prepared

    def prepare(self) -> None:
        self.prepared += 1


@pytest.mark.parametrize(("kind", "prepared"), [("on-demand", 1), ("snap-start", 0)])
def test_handler_is_built_during_lambdas_initialization(
    kind: str, prepared: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_LAMBDA_INITIALIZATION_TYPE", kind)
    built: list[Function] = []

    def build() -> Function:
        built.append(Function())
        return built[-1]

    handle = LambdaHandler(build)
    assert len(built) == 1
    assert handle({}, None) == prepared
    assert len(built) == 1


def test_handler_is_built_at_its_first_event_elsewhere() -> None:
    builds: Iterator[Function] = iter([Function()])
    handle = LambdaHandler(lambda: next(builds))
    assert handle({}, None) == 0
    assert not list(builds)


def test_function_without_preparation_is_built_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand")
    assert LambdaHandler(lambda: len)({}, None) == 0


@dataclass(frozen=True, slots=True)
class Settings(EnvironmentSettings):
    issuer: str
    clients_table: str
    realm: str = "gatehouse"


def test_each_field_is_read_from_the_variable_of_its_name() -> None:
    settings = Settings.from_env({"ISSUER": "https://a", "CLIENTS_TABLE": " clients "})
    assert settings == Settings("https://a", "clients", "gatehouse")


def test_variable_overrides_a_default() -> None:
    environ = {"ISSUER": "https://a", "CLIENTS_TABLE": "clients", "REALM": "other"}
    assert Settings.from_env(environ).realm == "other"


def test_every_missing_variable_is_named() -> None:
    with pytest.raises(MissingSettingsError, match="ISSUER, CLIENTS_TABLE") as error:
        Settings.from_env({"CLIENTS_TABLE": "  "})
    assert error.value.names == ("ISSUER", "CLIENTS_TABLE")


CHECKING_CLIENTS = ("ISSUER", "CLIENTS_TABLE", "TRUST_TABLE", "TOKENS_TABLE", "STATE_TABLE", "KEY_RING_SECRET")
SIGNING = (*CHECKING_CLIENTS, "SIGNING_KEYS_SECRET")
REQUIRED: dict[type[EnvironmentSettings], tuple[str, ...]] = {
    IssueToken: (*SIGNING, "DPOP_NONCE_SECRET"),
    IntrospectToken: SIGNING,
    RevokeToken: CHECKING_CLIENTS,
    PublishJwks: ("KEY_RING_SECRET",),
    PublishMetadata: ("ISSUER",),
}


@pytest.mark.parametrize("settings", REQUIRED, ids=lambda kind: kind.__module__)
def test_empty_environment_names_every_variable(settings: type[EnvironmentSettings]) -> None:
    with pytest.raises(MissingSettingsError) as error:
        settings.from_env({})
    assert error.value.names == REQUIRED[settings]


@pytest.mark.parametrize("settings", REQUIRED, ids=lambda kind: kind.__module__)
def test_required_settings_are_enough(settings: type[EnvironmentSettings]) -> None:
    environ = {name: ENVIRONMENT[name] for name in REQUIRED[settings]}
    read = settings.from_env(environ)
    assert [getattr(read, name.lower()) for name in environ] == list(environ.values())


def test_mtls_address_is_optional() -> None:
    for absent in ({}, {"MTLS_BASE_URL": ""}):
        assert PublishMetadata.from_env(ENVIRONMENT | absent).mtls_base_url == ""
    environ = {"ISSUER": ISSUER, "MTLS_BASE_URL": "https://mtls.example"}
    assert PublishMetadata.from_env(environ).mtls_base_url == "https://mtls.example"


def test_rare_function_is_built_at_its_first_call() -> None:
    built: list[str] = []

    @on_first_use
    def double() -> Callable[[int], int]:
        built.append("double")
        return lambda number: 2 * number

    assert not built
    assert [double(number) for number in range(3)] == [0, 2, 4]
    assert built == ["double"]
