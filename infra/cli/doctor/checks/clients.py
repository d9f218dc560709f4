"""Clients: secrets that end or idle, and what the authorizer will make of their tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from authorizer.claims import CERTIFICATE, DPOP_KEY
from authorizer.errors import AuthorizerError
from authorizer.reasons import Reason
from functions.shared.authentication.secret_use import DynamoDbSecretUses
from functions.shared.clients.authentication_methods import CLIENT_SECRET_BASIC, CLIENT_SECRET_POST
from functions.shared.clients.client_record import TokenFormat, TokenProfile
from functions.shared.clients.client_registry import WARM_SECONDS
from functions.shared.clients.client_secrets import SecretVerifier, WrongSecretError
from functions.shared.web import paths
from infra.cli.doctor.results import Check, Finding, either, failure, named, ok, warning
from infra.cli.local_authorizer import Call
from infra.cli.output import counted
from infra.cli.times import readable, span
from infra.explain import reason_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from functions.shared.clients.client_record import Client
    from functions.shared.clients.client_secrets import StoredSecret
    from infra.cli.doctor.context import Patient

DAY: Final = 86_400
SOON: Final = 14 * DAY
IDLE: Final = 90 * DAY
_BY_SECRET: Final = frozenset({CLIENT_SECRET_BASIC, CLIENT_SECRET_POST})
_OPAQUE_JUNK: Final = "gatehouse-doctor-has-no-token"


def records(patient: Patient) -> Iterator[Finding]:
    """Each client's record can be read; to the endpoints one that cannot is an error of ours."""
    yield from either(
        [
            failure(
                f"{seen.client_id} cannot be read, and is answered 500: {seen.fault}",
                f"gatehouse clients delete {seen.client_id}, and register it anew.",
            )
            for seen in patient.registered
            if seen.fault
        ],
        f"{counted(len(patient.registered), 'record')}, and every one can be read",
    )


def secrets(patient: Patient) -> Iterator[Finding]:
    """Clients have a secret that counts, and go on having one."""
    yield from either(
        [
            fault
            for client in patient.clients
            if _BY_SECRET & client.authentication_methods and not client.disabled
            for fault in _secret_faults(client, patient.now)
        ],
        f"every client has one that counts for {span(SOON)} or more",
    )


def _secret_faults(client: Client, now: float) -> Iterator[Finding]:
    rotate = f"gatehouse clients rotate-secret {client.client_id}."
    live = [secret for secret in client.secrets if secret.is_live(now)]
    others = client.authentication_methods - _BY_SECRET
    if not live and not others:
        yield failure(f"{client.client_id} has no secret that counts: it gets no tokens", rotate)
    elif live and all(_ends_by(secret, now + SOON) for secret in live):
        last = max(secret.expires_at or 0 for secret in live)
        coming = [each for each in client.secrets if each not in live and not _ended(each, now)]
        if not coming:
            yield warning(f"the last secret of {client.client_id} ends on {readable(last)}", rotate)


def _ends_by(secret: StoredSecret, moment: float) -> bool:
    return secret.expires_at is not None and secret.expires_at <= moment


def _ended(secret: StoredSecret, now: float) -> bool:
    return _ends_by(secret, now)


def idle_secrets(patient: Patient) -> Iterator[Finding]:
    """Secrets that count are used."""
    uses = DynamoDbSecretUses(patient.session.aws.dynamodb, patient.deployment.state_table)
    idle = {}
    for client in patient.clients:
        for secret in client.secrets:
            used = uses.last_used(client.client_id, secret.digest)
            if secret.is_live(patient.now) and used is not None and patient.now - used > IDLE:
                idle[client.client_id] = used
    yield from either(
        [
            warning(
                f"a secret of {client_id} was last used on {readable(used)[:10]}",
                "Whoever finds it can use it: rotate the secret, or disable the client.",
            )
            for client_id, used in idle.items()
        ],
        f"none has idled for {span(IDLE)}",
    )


def disabled(patient: Patient) -> Iterator[Finding]:
    """Say who is disabled: one that is forgotten should be deleted."""
    names = [client.client_id for client in patient.clients if client.disabled]
    said = f"disabled: {named(names)}" if names else "none is disabled"
    yield ok(f"{counted(len(patient.clients), 'client')}, {said}")


def audiences(patient: Patient) -> Iterator[Finding]:
    """Tokens are for an API, and this API takes tokens for itself only."""
    accepted = patient.settings.audiences
    if not accepted:
        yield warning(
            "the authorizer takes tokens for any audience, those for other APIs too",
            "Deploy with Audience, and register it as the clients' audience.",
        )
        return
    refused = [
        client.client_id
        for client in patient.clients
        if client.grant_types and accepted.isdisjoint(_possible_audiences(client))
    ]
    yield from either(
        [
            warning(
                f"no token of {named(refused)} can be for {named(accepted)}: this API refuses all "
                "of them",
                "Fine if they are for other APIs. Else give them that audience.",
            )
        ]
        if refused
        else [],
        f"every client can get tokens for {named(accepted)}",
    )


def _possible_audiences(client: Client) -> set[str]:
    own = {client.client_id} if client.token_profile is TokenProfile.PLAIN else set()
    return {*client.audience, *client.allowed_resources, *own}


def bound_tokens(patient: Patient) -> Iterator[Finding]:
    """Clients whose tokens are bound to a key meet an authorizer that takes proofs."""
    methods = patient.settings.confirmation_methods
    refused = [
        client.client_id
        for client in patient.clients
        if (client.dpop_bound_access_tokens and DPOP_KEY not in methods)
        or (client.tls_client_certificate_bound_access_tokens and CERTIFICATE not in methods)
    ]
    if methods and patient.cache_seconds:
        yield failure(
            f"proofs are asked for, and decisions reused for {patient.cache_seconds} s without any",
            "Deploy with AuthorizerCacheSeconds=0.",
        )
    yield from either(
        [
            warning(
                f"this API refuses the bound tokens of {named(refused)}",
                "Fine if they are for other APIs. Else deploy with ProofOfPossession.",
            )
        ]
        if refused
        else [],
        "no client gets bound tokens that this API would refuse",
    )


def lifetimes(patient: Patient) -> Iterator[Finding]:
    """A decision is not reused for longer than a token lives."""
    cache = patient.cache_seconds
    short = [
        client.client_id
        for client in patient.clients
        if client.grant_types and client.token_lifetime < cache
    ]
    yield from either(
        [
            warning(
                f"API Gateway reuses a decision for {cache} s, and tokens of {named(short)} live "
                "shorter: some may be let through past their end",
                "Deploy with a smaller AuthorizerCacheSeconds, or let those tokens live longer.",
            )
        ]
        if short
        else [],
        f"tokens live longer than decisions are reused ({cache} s)",
    )


def revocation(patient: Patient) -> Iterator[Finding]:
    """Say how long a revoked JWT goes on counting."""
    settings, cache = patient.settings, patient.cache_seconds
    if settings.deny_list_table is None:
        longest = max((client.token_lifetime for client in patient.clients), default=0)
        yield ok(
            f"a revoked JWT counts here until it expires, {span(longest)} at most "
            "(CheckRevokedTokens=false)"
        )
    else:
        yield ok(f"a revoked JWT counts here for {span(settings.deny_list_soft_age + cache)} more")


def introspection(patient: Patient) -> Iterator[Finding]:
    """The authorizer can ask about opaque tokens: it asks about one that nobody has issued."""
    opaque = _get_opaque_tokens(patient)
    call = Call("GET", "/", {"Authorization": f"Bearer {_OPAQUE_JUNK}"})
    try:
        patient.authorizer.judge(call)
    except AuthorizerError as error:
        reason = error.reason
    else:
        reason = Reason.UNEXPECTED
    if reason is Reason.TOKEN_INACTIVE:
        yield ok("the authorizer's credentials are good, and an unknown token is not active")
    elif opaque:
        yield failure(
            f"opaque tokens of {named(opaque)} are answered with an error: {reason_text(reason)}",
            "Register the authorizer's client: 'make smoke STACK=…' does.",
        )
    else:
        yield warning(
            f"no client gets opaque tokens, and none could be used: {reason_text(reason)}",
            "Register the authorizer's client before one does: 'make smoke STACK=…'.",
        )


def _get_opaque_tokens(patient: Patient) -> list[str]:
    return [
        client.client_id
        for client in patient.clients
        if client.token_format is TokenFormat.OPAQUE and client.grant_types
    ]


def own_client(patient: Patient) -> Iterator[Finding]:
    """The client that the authorizer introspects with is registered, whatever warm processes know.

    One that was deleted or disabled is let in for a while yet, so asking the endpoint is no proof.
    """
    settings = patient.settings
    if settings.introspection_uri != patient.deployment.issuer + paths.INTROSPECTION:
        yield ok("the authorizer does not introspect here")
        return
    client_id, secret = patient.authorizer.credentials()
    client = next((each for each in patient.clients if each.client_id == client_id), None)
    register = "Register it: 'make smoke STACK=…' does, and 'make run' on the laptop."
    if client is None:
        yield _locked_out(patient, f"{client_id} is not registered", register)
    elif client.disabled:
        enable = f"gatehouse clients enable {client_id}."
        yield _locked_out(patient, f"{client_id} is disabled", enable)
    elif not _takes(client, secret, patient.now):
        yield _locked_out(patient, f"{client_id} is registered with another secret", register)
    else:
        yield ok(f"{client_id} is registered with the authorizer's secret")


def _locked_out(patient: Patient, why: str, to_do: str) -> Finding:
    seen = (
        f"{why}: processes that know it otherwise follow within {WARM_SECONDS} s, and then opaque "
        "tokens are answered 500"
    )
    return failure(seen, to_do) if _get_opaque_tokens(patient) else warning(seen, to_do)


def _takes(client: Client, secret: str, now: float) -> bool:
    try:
        SecretVerifier().verify(secret, client.secrets, now)
    except WrongSecretError:
        return False
    return True


CHECKS: Final = (
    Check("clients", "records", records),
    Check("clients", "secrets", secrets),
    Check("clients", "idle secrets", idle_secrets),
    Check("clients", "disabled", disabled),
    Check("clients", "audiences", audiences, of_sample_api=True),
    Check("clients", "bound tokens", bound_tokens, of_sample_api=True),
    Check("clients", "lifetimes", lifetimes, of_sample_api=True),
    Check("clients", "revocation", revocation, of_sample_api=True),
    Check("clients", "introspection", introspection, of_sample_api=True),
    Check("clients", "the authorizer's own", own_client),
)
