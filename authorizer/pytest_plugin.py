"""Fixtures of pytest for tests of a guarded API: tokens of an issuer in memory."""

import logging
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

from .errors import InvalidTokenError
from .testing import FAULTS, MemoryIssuer, ProofKey

if TYPE_CHECKING:
    from .authorizer import Authorizer, Decision
    from .clock import Deadline
    from .event import AuthorizerEvent

CreateToken = Callable[..., str]
"""The fixture `access_token`, with the parameters of `MemoryIssuer.access_token`."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the settings of the issuer."""
    parser.addini("gatehouse_issuer", "the issuer of the API under test")
    parser.addini("gatehouse_audience", "the audience of the API under test")


@pytest.fixture(scope="session")
def token_issuer(pytestconfig: pytest.Config) -> Iterator[MemoryIssuer]:
    """The issuer, whose key set this process uses from now on."""
    settings = {name: pytestconfig.getini(name) for name in ("gatehouse_issuer", "gatehouse_audience")}
    if missing := [name for name, value in settings.items() if not value]:
        pytest.fail(f"pytest has no setting {' and '.join(missing)}: name those of the API under test.", pytrace=False)
    issuer = MemoryIssuer(*settings.values())
    with issuer.serving():
        yield issuer


@pytest.fixture
def access_token(token_issuer: MemoryIssuer, caplog: pytest.LogCaptureFixture) -> CreateToken:
    """Creates access tokens: `access_token("orders.read")`, `access_token(fault="expired")`."""
    caplog.set_level(logging.INFO, "gatehouse")  # the reason of a rejection is in the report of a failed test
    return token_issuer.access_token


@pytest.fixture
def dpop_key() -> ProofKey:
    """A client's key: `access_token(key=dpop_key)`, `dpop_key.headers("GET", url, token)`."""
    return ProofKey()


@pytest.fixture(params=FAULTS)
def rejected_token(
    request: pytest.FixtureRequest, access_token: CreateToken, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """A token that every API must reject with 401, one for each fault.

    The test fails if no authorizer of this process rejects the token for its fault. It could otherwise
    pass with the wrong issuer or audience, which rejects every token.
    """
    from .authorizer import Authorizer  # late: pytest imports this module for every suite

    found: list[str] = []
    authorize = Authorizer.authorize

    def observed(self: "Authorizer", event: "AuthorizerEvent", deadline: "Deadline") -> "Decision":
        try:
            return authorize(self, event, deadline)
        except InvalidTokenError as error:
            found.append(error.reason.value)
            raise

    monkeypatch.setattr(Authorizer, "authorize", observed)
    yield access_token(fault=request.param)
    if (expected := FAULTS[request.param]) not in found:
        reasons = ", ".join(found) or "nothing: no authorizer of this process has rejected the token"
        hint = "Compare gatehouse_issuer and gatehouse_audience with the API's settings."
        pytest.fail(f"The token is to be rejected for {expected}, and was for {reasons}. {hint}", pytrace=False)
