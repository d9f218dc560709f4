"""Token exchange: a service swaps the token of its caller for a token to call the next API.

RFC 8693.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from authorizer.claims import ID_TOKEN_CLAIMS, Confirmation, read_confirmation, read_subject, refuse_other_kinds
from authorizer.errors import InvalidTokenError

from ..shared.authentication.credentials import (
    AuthenticationMethod,
    PresentedAssertion,
    PresentedCredentials,
    parse_assertion,
)
from ..shared.clients.client import Client
from ..shared.tokens.opaque_tokens import ActiveToken
from ..shared.tokens.token_lookup import TokenLookup
from ..shared.web.form import Form
from ..shared.web.oauth_errors import InvalidClientError, InvalidRequestError
from .grants import Grant, TokenRequest, named_audience, narrowed_scopes, required_audience

ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"
JWT = "urn:ietf:params:oauth:token-type:jwt"
ID_TOKEN = "urn:ietf:params:oauth:token-type:id_token"
MAX_ACTORS = 4
"""The largest number of actors in a chain, including the client of the exchange."""


@dataclass(frozen=True, slots=True)
class TokenExchange:
    """Decides token exchanges. The authenticated client becomes the actor, the subject stays.

    `federated_jwt` verifies actor tokens of other issuers.
    """

    tokens: TokenLookup
    federated_jwt: AuthenticationMethod[PresentedAssertion]

    def __call__(self, request: TokenRequest) -> Grant:
        """Decide one exchange.

        Its scopes are both in the subject token and registered for the client. Its audience is one
        API that the client may address. It does not outlive the subject token.

        Raises:
            InvalidRequestError: a parameter is missing or not supported, or the subject or actor
                token is not acceptable. RFC 8693, 2.2.2.
            InvalidScopeError: the subject token or the client does not have a requested scope.
            InvalidTargetError: the client may not address the API, or the request names none.
        """
        client, form = request.client, request.form
        _check_token_types(form)
        subject = self._subject_token(request)
        return Grant(
            client=client,
            scopes=_scopes(client, form.get("scope"), subject),
            audience=_audience(client, form),
            confirmation=request.confirmation,
            subject=subject.subject,
            # Last, because it may use an actor token that is valid once.
            actor=self._actor(request) | _earlier_actors(subject),
            not_after=subject.expires_at,
            issued_token_type=ACCESS_TOKEN,
            claims=subject.claims,  # they describe the subject, as `sub` does
        )

    def _subject_token(self, request: TokenRequest) -> ActiveToken:
        token = self.tokens.find(request.form.require("subject_token"), request.now)
        obstacle = _obstacle(token, request)
        if token is None or obstacle:
            raise InvalidRequestError("The subject token is not acceptable.", reason=obstacle)
        return token

    def _actor(self, request: TokenRequest) -> dict[str, Any]:
        """Return the members of the `act` claim: the client, or its workload at another issuer.

        An actor token proves the identity of the client. It is an access token of the client
        itself, or a JWT that meets one of the client's federation rules.
        """
        client, form = request.client, request.form
        token, token_type = form.get("actor_token"), form.get("actor_token_type")
        if token is None and token_type is None:
            return {"sub": client.client_id}
        if token is None or token_type is None:
            raise InvalidRequestError("actor_token and actor_token_type go together.")
        if token_type == ACCESS_TOKEN:
            if obstacle := _actor_obstacle(self.tokens.find(token, request.now), request):
                raise InvalidRequestError("The actor token is not acceptable.", reason=obstacle)
            return {"sub": client.client_id}
        if token_type not in {JWT, ID_TOKEN}:
            raise InvalidRequestError("The actor_token_type is not supported.")
        try:
            assertion = parse_assertion(token)
            unverified_claims = assertion.unverified_claims
            subject = read_subject(unverified_claims, None)
            _check_proof(read_confirmation(unverified_claims), request)
            _refuse_other_kinds(unverified_claims, token_type)
            # Last, because it may record the only use.
            self.federated_jwt.verify(PresentedCredentials(client.client_id, assertion), client, request.now)
        except (InvalidClientError, InvalidTokenError) as error:
            raise InvalidRequestError("The actor token is not acceptable.", reason=f"actor: {error.reason}") from None
        return {"iss": unverified_claims["iss"], "sub": subject, "client_id": client.client_id}


def _check_token_types(form: Form) -> None:
    """Check the types of RFC 8693, 2.1, but for that of an actor token."""
    if form.require("subject_token_type") != ACCESS_TOKEN:
        raise InvalidRequestError("The subject_token_type must be that of an access token.")
    if form.get("requested_token_type") not in {None, ACCESS_TOKEN}:
        raise InvalidRequestError("The requested_token_type must be that of an access token.")


def _obstacle(token: ActiveToken | None, request: TokenRequest) -> str | None:
    client = request.client
    if token is None:
        return "the subject token is unknown, expired or revoked"
    if not client.is_among(token.audience) and client.resource_scopes.isdisjoint(token.scopes):
        return "the subject token is not meant for the client"
    if token.client_id not in client.exchange_subjects:
        return "the client may not exchange tokens of this subject's client"
    if not request.proves(token.confirmation):
        return "the subject token is bound to a key that the request does not prove"
    return _obstacle_in_chain(token, client)


def _obstacle_in_chain(token: ActiveToken, client: Client) -> str | None:
    if client.client_id in {token.client_id, token.subject, *token.actors}:
        return "the client is in the subject token's chain already"
    if len(token.actors) >= MAX_ACTORS:
        return "the subject token's chain is too long"
    return None


def _actor_obstacle(token: ActiveToken | None, request: TokenRequest) -> str | None:
    if token is None:
        return "the actor token is unknown, expired or revoked"
    if token.actor or {token.client_id, token.subject} != {request.client.client_id}:
        return "the actor token was not issued to the client itself"
    if not request.proves(token.confirmation):
        return "the actor token is bound to a key that the request does not prove"
    return None


def _check_proof(bound_to: Confirmation | None, request: TokenRequest) -> None:
    if not request.proves(bound_to):
        raise InvalidClientError(reason="bound to a key that the request does not prove")


def _refuse_other_kinds(claims: Mapping[str, object], token_type: str) -> None:
    if token_type == ID_TOKEN:
        claims = {name: value for name, value in claims.items() if name not in ID_TOKEN_CLAIMS}
    refuse_other_kinds(claims)


def _earlier_actors(subject: ActiveToken) -> dict[str, Any]:
    """Return the `act` member with earlier actors. RFC 8693, 4.1.

    The first actor for a subject of another issuer is the client that got the token.
    """
    first = {"sub": subject.client_id} if subject.has_foreign_subject else None
    earlier = subject.actor or first
    return {"act": earlier} if earlier else {}


def _scopes(client: Client, requested: str | None, subject: ActiveToken) -> tuple[str, ...]:
    if requested is None:
        return tuple(scope for scope in client.default_scopes if scope in subject.scopes)
    return narrowed_scopes(client, requested, subject.scopes, "subject token")


def _audience(client: Client, form: Form) -> tuple[str, ...]:
    resources, names = form.get_all("resource"), form.get_all("audience")
    if resources or names:
        return named_audience(client, resources, names)
    return required_audience(client)
