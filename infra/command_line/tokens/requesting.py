"""Token requests, as a client makes them: every way to prove who it is, and to bind a token."""

from __future__ import annotations

import re
from base64 import b64encode
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote_plus, urlencode

from functions.shared.clients.authentication_methods import (
    CLIENT_SECRET_BASIC,
    CLIENT_SECRET_POST,
    SELF_SIGNED_TLS_CLIENT_AUTH,
    TLS_CLIENT_AUTH,
)
from functions.shared.clients.grant_types import CLIENT_CREDENTIALS, TOKEN_EXCHANGE
from functions.shared.web import paths
from infra.command_line.deployment.web import Certificates, Web
from infra.command_line.terminal.errors import CommandError, ExitCode

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from infra.command_line.deployment.web import Answer
    from infra.command_line.tokens.client_keys import ClientKey

SECRET_METHODS: Final = (CLIENT_SECRET_BASIC, CLIENT_SECRET_POST)
CERTIFICATE_METHODS: Final = (TLS_CLIENT_AUTH, SELF_SIGNED_TLS_CLIENT_AUTH)
METADATA: Final = "/.well-known/oauth-authorization-server"

_ASSERTION_TYPE: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_ACCESS_TOKEN: Final = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105 - a name
_TOKEN: Final = re.compile(r"[A-Za-z0-9._~+/-]+=*")  # RFC 6750, 2.1
_OK: Final = 200
_SERVER_ERROR: Final = 500
_NEXT_STEPS: Final[Mapping[str, str]] = {
    "invalid_client": "Is the proof right, the client enabled, and registered for this method? "
    "The log line of the request has the reason.",
    "invalid_scope": "See what it may ask for: gatehouse clients show.",
    "invalid_target": "See which resources it may name: gatehouse clients show.",
    "invalid_dpop_proof": "Is this machine's clock right?",
    "unauthorized_client": "See its grant types: gatehouse clients show.",
    "slow_down": "Wait for a minute: authentication failed too often.",
}


@dataclass(frozen=True, kw_only=True)
class Proof:
    """What proves who the client is: members of the form, a header, or a certificate."""

    form: Mapping[str, str] = field(default_factory=dict, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    certificates: Certificates = field(default_factory=Certificates)


def by_secret(method: str, client_id: str, secret: str) -> Proof:
    """Prove it with a secret, in a header or in the form. RFC 6749, 2.3.1."""
    if method == CLIENT_SECRET_POST:
        return Proof(form={"client_id": client_id, "client_secret": secret})
    pair = f"{quote_plus(client_id)}:{quote_plus(secret)}"
    return Proof(headers={"Authorization": f"Basic {b64encode(pair.encode()).decode()}"})


def by_assertion(client_id: str, assertion: str) -> Proof:
    """Prove it with a JWT, the client's own or another issuer's about it. RFC 7523, 2.2."""
    return Proof(
        form={
            "client_id": client_id,
            "client_assertion_type": _ASSERTION_TYPE,
            "client_assertion": assertion,
        }
    )


def by_certificate(client_id: str, certificates: Certificates) -> Proof:
    """Prove it with the certificate of mutual TLS. RFC 8705, 2."""
    return Proof(form={"client_id": client_id}, certificates=certificates)


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What is asked for. With a subject token it is an exchange (RFC 8693)."""

    scopes: Sequence[str] = ()
    resource: str | None = None
    subject_token: str | None = field(default=None, repr=False)

    def form(self) -> dict[str, str]:
        """Return its members of the form."""
        form = {"grant_type": CLIENT_CREDENTIALS}
        if self.subject_token is not None:
            form = {
                "grant_type": TOKEN_EXCHANGE,
                "subject_token": self.subject_token,
                "subject_token_type": _ACCESS_TOKEN,
            }
        if self.scopes:
            form["scope"] = " ".join(self.scopes)
        return form | ({"resource": self.resource} if self.resource else {})


def token_endpoint(issuer: str, proof: Proof) -> str:
    """Return where a request goes: behind mutual TLS for a client with a certificate.

    Raises:
        CommandError: the deployment has no such address.
    """
    if proof.certificates.certificate is None:
        return issuer + paths.TOKEN
    aliases = Web().ask("GET", issuer + METADATA).member("mtls_endpoint_aliases")
    endpoint = aliases.get("token_endpoint") if isinstance(aliases, dict) else None
    if not isinstance(endpoint, str) or not endpoint.startswith("https://"):
        raise CommandError(
            "The deployment has no address for clients with certificates.",
            "Deploy it with MtlsDomainName: docs/deploy.md.",
        )
    return endpoint


def request_token(
    endpoint: str, proof: Proof, wanted: Wanted, *, dpop_key: ClientKey | None, now: float
) -> dict[str, Any]:
    """Return the answer of the token endpoint.

    A nonce that it asks for is sent with a second proof. RFC 9449, 8.

    Raises:
        CommandError: it gives no token.
    """
    web = Web(proof.certificates)
    body = urlencode({**proof.form, **wanted.form()}).encode()
    headers = {"Content-Type": "application/x-www-form-urlencoded", **proof.headers}

    def ask(nonce: str | None = None) -> Answer:
        bound = {"DPoP": dpop_key.proof("POST", endpoint, now, nonce=nonce)} if dpop_key else {}
        return web.ask("POST", endpoint, {**headers, **bound}, body)

    answer = ask()
    if answer.member("error") == "use_dpop_nonce":
        answer = ask(answer.headers.get("DPoP-Nonce"))
    if answer.status != _OK:
        raise _refusal(answer)
    token = answer.member("access_token")
    # It goes to a terminal, a pipe or a header as it is.
    if not isinstance(token, str) or not _TOKEN.fullmatch(token):
        raise CommandError(
            f"What {endpoint} answers has no token in it.",
            "Is that the deployment's own address, or does something else answer there?",
            ExitCode.TROUBLE,
        )
    document: dict[str, Any] = answer.json
    return document


def _refusal(answer: Answer) -> CommandError:
    error, description = answer.member("error"), answer.member("error_description")
    said = f" {error}" if isinstance(error, str) else ""
    why = f": {description}" if isinstance(description, str) else ""
    step = _NEXT_STEPS.get(str(error), "The log line of the request has the reason.")
    code = ExitCode.TROUBLE if answer.status >= _SERVER_ERROR else ExitCode.REFUSED
    return CommandError(
        f"The token endpoint answers {answer.status}{said}{why}".rstrip(".") + ".", step, code
    )
