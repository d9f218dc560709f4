"""What the page can ask for: the one place that knows tasks and puts the parts together."""

from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from functions.shared.runtime.aws_clients import AwsClients
from local.console.call_story import CallStory
from local.console.clients import (
    DEMO_CLIENTS,
    DPOP_CLIENT,
    KINDS,
    ClientCalls,
    described,
    kind_of,
    needs_mutual_tls,
)
from local.console.http_calls import Call
from local.console.stagehand import Stagehand
from local.console.steps import Step, http_exchange
from local.console.token_story import TokenStory
from local.console.tokens import NoJwtError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from functions.shared.clients.client import Client
    from local.addresses import Addresses

__all__ = ["Desk", "RequestError", "build"]

SCOPE_MAP = Path(__file__).resolve().parents[2] / "authorizer" / "scopes.json"

ROUTES = ("/country/code/AUS", "/country?limit=3", "/country/code/XX")
"""What a person may ask the guarded API for. There is no country XX."""

_SCHEMES = ("Bearer", "DPoP")
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")  # RFC 6750, 2.1
_AT_HAND = {
    "fresh": "The authorizer has fetched the key set a moment ago.",
    "stale": "The authorizer has a key set that is past its soft age (JWKS_SOFT_AGE).",
    "nothing": "The authorizer has just been started, and has no key set.",
}


class RequestError(Exception):
    """The page asked for what there is not; the message says so."""


@dataclass(frozen=True)
class Desk:
    """Answers the page. Every answer is JSON; steps are in the order in which they happened."""

    addresses: Addresses
    stagehand: Stagehand
    scope_map: Mapping[str, list[str]]

    def setting(self, _: Mapping[str, Any]) -> dict[str, Any]:
        """Return what there is to choose from."""
        found = [self.stagehand.client(client_id) for client_id in DEMO_CLIENTS]
        usable = [client for client in found if client and self._is_usable(client)]
        return {
            "kinds": KINDS,
            "clients": [described(client) for client in usable],
            "routes": list(ROUTES),
            "opening": sorted(scope for scope, routes in self.scope_map.items() if routes),
            "down": self.stagehand.is_key_set_down(),
        }

    def token(self, wanted: Mapping[str, Any]) -> dict[str, Any]:
        """Let a client ask for a token."""
        client = self.stagehand.client(_text(wanted, "client"))
        scopes = wanted.get("scopes")
        if client is None or client.client_id not in DEMO_CLIENTS:
            raise RequestError("There is no such client.")
        if not isinstance(scopes, list) or not all(isinstance(scope, str) for scope in scopes):
            raise RequestError("scopes is a list of texts.")
        story = TokenStory(self._calls, client, scopes)
        steps = _told(story.tell())
        return {"steps": steps, "token": story.token, "scheme": story.scheme}

    def call(self, wanted: Mapping[str, Any]) -> dict[str, Any]:
        """Call the guarded API with a token."""
        path, token = _text(wanted, "path"), _token(wanted)
        scheme = _text(wanted, "scheme")
        if path not in ROUTES or scheme not in _SCHEMES:
            raise RequestError("There is no such route or scheme.")
        return {"steps": _told(self._call_story.tell(path, token, scheme))}

    def expire(self, wanted: Mapping[str, Any]) -> dict[str, Any]:
        """Let a token be one that has expired."""
        try:
            token, step = self.stagehand.expire(_token(wanted))
        except (LookupError, TypeError, NoJwtError):
            raise RequestError("Only a token that the auth server has issued can expire.") from None
        return {"steps": [step.to_json()], "token": token}

    def tamper(self, wanted: Mapping[str, Any]) -> dict[str, Any]:
        """Change a token behind its issuer's back."""
        try:
            token, step = self.stagehand.tamper(_token(wanted))
        except NoJwtError as error:
            raise RequestError(str(error)) from None
        return {"steps": [step.to_json()], "token": token}

    def rotate(self, _: Mapping[str, Any]) -> dict[str, Any]:
        """Rotate the signing key."""
        return {"steps": [self.stagehand.rotate().to_json()]}

    def take_down(self, wanted: Mapping[str, Any]) -> dict[str, Any]:
        """Take the JWKS endpoint down; `with` says what the authorizer has by then."""
        at_hand = _text(wanted, "with")
        if at_hand not in _AT_HAND:
            raise RequestError(f"with is one of {', '.join(_AT_HAND)}.")
        self.stagehand.bring_key_set_back()
        self.stagehand.new_authorizer(always_stale=at_hand == "stale")
        if at_hand != "nothing":
            self._warm_up()
        self.stagehand.take_key_set_down()
        return {"steps": [self._down(_AT_HAND[at_hand]).to_json()], "down": True}

    def bring_back(self, _: Mapping[str, Any]) -> dict[str, Any]:
        """Bring the JWKS endpoint back, with an authorizer as on the first day."""
        self.stagehand.bring_key_set_back()
        self.stagehand.new_authorizer()
        step = Step(
            "auth",
            "auth",
            "The JWKS endpoint is back",
            "It answers again. The authorizer was started anew, and has nothing at hand.",
            chip="up",
            tone="good",
            details=(http_exchange(self._jwks_call),),
        )
        return {"steps": [step.to_json()], "down": False}

    def _warm_up(self) -> None:
        """Make a call to each API, so that its authorizer has fetched the key set."""
        for client_id in (DEMO_CLIENTS[0], *([DPOP_CLIENT] if self.addresses.bound_api else ())):
            client = self.stagehand.client(client_id)
            if client is None:
                raise RequestError(f"{client_id} was deleted.")
            story = TokenStory(self._calls, client, ())
            _told(story.tell())
            if story.token is None:
                raise RequestError(f"{client_id} gets no token.")
            _told(self._call_story.tell(ROUTES[0], story.token, story.scheme))

    def _down(self, how: str) -> Step:
        return Step(
            "auth",
            "auth",
            "The JWKS endpoint is down",
            f"It answers 503, as API Gateway does while a function is throttled. {how}",
            chip="down",
            tone="bad",
            details=(http_exchange(self._jwks_call),),
        )

    def _is_usable(self, client: Client) -> bool:
        """Whether its requests can be served: some need mutual TLS, some the bound API."""
        if not self.addresses.bound_api and kind_of(client) in ("dpop", "mtls"):
            return False
        return self.addresses.mutual_tls or not needs_mutual_tls(client)

    @cached_property
    def _calls(self) -> ClientCalls:
        return ClientCalls(self.addresses)

    @cached_property
    def _call_story(self) -> CallStory:
        return CallStory(self._calls, self.stagehand, self.scope_map)

    @cached_property
    def _jwks_call(self) -> Call:
        return Call(f"{self.addresses.issuer}/oauth2/jwks")


def build(addresses: Addresses, folder: str) -> Desk:
    """Compose the desk of the laptop edition at these addresses, whose sockets are in `folder`."""
    scope_map = json.loads(SCOPE_MAP.read_text(encoding="utf-8"))
    stagehand = Stagehand(folder, AwsClients(), time.time, addresses.bound_api)
    return Desk(addresses, stagehand, scope_map)


def _told(steps: Iterator[Step]) -> list[dict[str, Any]]:
    return [step.to_json() for step in steps]


def _token(wanted: Mapping[str, Any]) -> str:
    token = _text(wanted, "token")
    if not _TOKEN.fullmatch(token):
        raise RequestError("A token has characters that no token has.")
    return token


def _text(wanted: Mapping[str, Any], name: str) -> str:
    value = wanted.get(name)
    if not isinstance(value, str) or not value:
        raise RequestError(f"{name} is a text.")
    return value
