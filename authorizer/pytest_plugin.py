"""Fixtures of pytest for tests of a guarded API: tokens of an issuer in memory."""

from collections.abc import Callable, Iterator

import pytest

from .testing import FAULTS, MemoryIssuer, ProofKey

CreateToken = Callable[..., str]
"""The fixture `access_token`, with the parameters of `MemoryIssuer.access_token`."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the settings of the issuer."""
    parser.addini("gatehouse_issuer", "the issuer of the API under test", default="https://issuer.test")
    parser.addini("gatehouse_audience", "the audience of the API under test", default="https://api.test")


@pytest.fixture(scope="session")
def token_issuer(pytestconfig: pytest.Config) -> Iterator[MemoryIssuer]:
    """The issuer, whose key set this process uses from now on."""
    issuer = MemoryIssuer(pytestconfig.getini("gatehouse_issuer"), pytestconfig.getini("gatehouse_audience"))
    with issuer.serving():
        yield issuer


@pytest.fixture
def access_token(token_issuer: MemoryIssuer) -> CreateToken:
    """Creates access tokens: `access_token("orders.read")`, `access_token(fault="expired")`."""
    return token_issuer.access_token


@pytest.fixture
def dpop_key() -> ProofKey:
    """A client's key: `access_token(key=dpop_key)`, `dpop_key.headers("GET", url, token)`."""
    return ProofKey()


@pytest.fixture(params=FAULTS)
def rejected_token(request: pytest.FixtureRequest, token_issuer: MemoryIssuer) -> str:
    """A token that every API must reject with 401, one for each fault."""
    return token_issuer.access_token(fault=request.param)
