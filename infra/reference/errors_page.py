"""docs/reference/errors.md: what the endpoints and the authorizer answer, when, and what to do."""

from __future__ import annotations

import re
from inspect import cleandoc
from pathlib import Path
from typing import TYPE_CHECKING, Final

from authorizer import reasons
from authorizer.reasons import Reason
from functions.shared.web.oauth_errors import OAuthError
from infra.cli.tokens.reasons import in_words
from infra.reference.sources import table, template

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

REMEDIES: Final[Mapping[str, str]] = {
    "InvalidRequestError": "Mend the request; the description says which part of it.",
    "MethodNotAllowedError": "Use a method of `Allow`.",
    "InvalidClientError": "Compare client_id, credentials and `authentication_methods`; the log of "
    "the endpoint has the reason.",
    "UnauthorizedClientError": "Add the grant to the client's `grant_types`.",
    "UnsupportedGrantTypeError": "Ask with client_credentials or token exchange.",
    "InvalidScopeError": "Ask for fewer scopes, or add them to the client's `scopes`.",
    "InvalidTargetError": "Ask for another `resource`, or add it to the client's "
    "`allowed_resources`.",
    "InvalidDpopProofError": "Make a new proof for each request; the log has the reason.",
    "UseDpopNonceError": "Make a proof with the nonce of the answer's `DPoP-Nonce`, and ask again.",
    "TooManyFailuresError": "Wait for `Retry-After` seconds. "
    "[Lockouts](../operate.md#a-client-is-locked-out).",
    "ServerError": "The operator's: [incidents](../operate.md#incidents).",
    "TemporarilyUnavailableError": "Ask again after `Retry-After`; if it stays, "
    "[incidents](../operate.md#incidents).",
}
"""What to do about each error, by its class."""

_SECTION: Final = re.compile(r"^    # (?P<title>.+)$|^    (?P<member>[A-Z0-9_]+) = ", re.MULTILINE)
_STATUSES: Final = {"Our own trouble": "500", "A good token that grants nothing here": "403"}

_HEAD: Final = """# Errors

Written from the code by `make reference`.
"""
_OAUTH: Final = """## The authorization server
The body is JSON: `error`, and `error_description` for people. The description of a failed
authentication never says why; the endpoint's [log line](../operate.md#logs) has the `reason`.
[openapi.yaml](../openapi.yaml) says which endpoint answers what.
"""
_GATEWAY: Final = """
## The guarded API
What API Gateway answers for the authorizer (`GatewayResponses` of the template).
"""
_REASONS: Final = """
## The authorizer's reasons
`reason` in the authorizer's line, and what `gatehouse token inspect` explains a refusal with. The
status is what the caller gets. What cannot be decided is a 500, which API Gateway does not cache.
"""


def write_page() -> str:
    """Return the page."""
    return "\n".join(
        [
            _HEAD,
            _OAUTH,
            table(("error", "status", "headers", "when", "what to do"), list(_oauth_errors())),
            _GATEWAY,
            table(("response", "status", "body"), list(_gateway_responses())),
            _REASONS,
            *_reasons(),
        ]
    )


def oauth_errors(kind: type[OAuthError] = OAuthError) -> Iterator[type[OAuthError]]:
    """Yield every error that an endpoint answers with."""
    for each in kind.__subclasses__():
        if each.__module__ == OAuthError.__module__:
            yield each
            yield from oauth_errors(each)


def _oauth_errors() -> Iterator[tuple[str, ...]]:
    for kind in oauth_errors():
        when = " ".join(cleandoc(str(kind.__doc__)).split()).removeprefix("Raised when ")
        yield (
            f"`{kind.code}`",
            str(kind.status),
            ", ".join(f"`{name}`" for name in _headers(kind)),
            f"{when[0].upper()}{when[1:]}",
            REMEDIES[kind.__name__],
        )


def _headers(kind: type[OAuthError]) -> Iterator[str]:
    yield from kind.headers
    # These are known when the error is raised.
    yield from {"MethodNotAllowedError": ["Allow"], "TooManyFailuresError": ["Retry-After"]}.get(
        kind.__name__, ()
    )


def _gateway_responses() -> Iterator[tuple[str, str, str]]:
    api = template()["Resources"]["GuardedApi"]["Properties"]
    for name, said in api["GatewayResponses"].items():
        body = next(iter(said["ResponseTemplates"].values()))
        yield f"`{name}`", str(said.get("StatusCode", "its own")), f"`{body}`"


def sections() -> dict[str, list[Reason]]:
    """Return the authorizer's reasons by the comments above them."""
    found: dict[str, list[Reason]] = {}
    text = Path(reasons.__file__).read_text(encoding="utf-8")
    for match in _SECTION.finditer(text):
        if match["title"]:
            current = found.setdefault(match["title"], [])
        else:
            current.append(Reason[match["member"]])
    return found


def _reasons() -> Iterator[str]:
    for title, members in sections().items():
        status = _STATUSES.get(title, "401")
        rows = [(f"`{reason}`", status, in_words(reason)) for reason in members]
        yield f"### {title}"
        yield table(("reason", "status", "what it means"), rows) + "\n"
