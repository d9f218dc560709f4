"""What comes of a client of another server, and what several formats have in common."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from functions.shared.clients.authentication_methods import METHODS
from functions.shared.clients.client_record import LONGEST_TOKEN_LIFETIME, TokenProfile
from functions.shared.clients.client_secrets import StoredSecret, digest_imported
from functions.shared.clients.grant_types import CLIENT_CREDENTIALS, GRANT_TYPES
from infra.cli.clients.documents import checked
from infra.cli.terminal.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from functions.shared.clients.client_record import Client

SHORTEST_TOKEN_LIFETIME: Final = 2


@dataclass(slots=True)
class Draft:
    """A client in the making: what is carried over, and a sentence for everything that is not.

    `document` is a client's as in a clients file. `refusal` is why there can be no client at all.
    """

    client_id: str
    document: dict[str, Any] = field(default_factory=dict)
    secret: StoredSecret | None = None
    lost: list[str] = field(default_factory=list)
    refusal: str = ""

    def carry_secret(self, plain: str, expires_at: int | None = None) -> None:
        """Keep a secret that is there in plain text. Its client goes on using it."""
        self.secret = StoredSecret(digest_imported(plain), expires_at=expires_at)

    def lose(self, sentence: str) -> None:
        """Note something that cannot be carried over."""
        self.lost.append(sentence)

    def carry_methods(self, methods: Iterable[str]) -> None:
        """Keep the authentication methods that are ours too."""
        given = list(dict.fromkeys(methods))
        kept = [method for method in given if method in METHODS]
        for method in given:
            if method not in METHODS:
                self.lose(f"authentication by {method} does not exist here")
        self.document["authentication_methods"] = kept
        if not kept:
            self.refusal = "it has no authentication method that exists here"

    def carry_grants(self, grants: Iterable[str]) -> None:
        """Keep the grant types for machines. A client without one is for people's sign-in."""
        given = list(dict.fromkeys(grants))
        kept = [grant for grant in given if grant in GRANT_TYPES]
        others = [grant for grant in given if grant not in GRANT_TYPES]
        if others:
            self.lose(f"grant types for people do not exist here: {', '.join(others)}")
        if CLIENT_CREDENTIALS not in kept:
            self.refusal = "it may not use client credentials"
        if kept != [CLIENT_CREDENTIALS]:
            self.document["grant_types"] = kept

    def carry_lifetime(self, seconds: float | None, default: int) -> None:
        """Keep a token lifetime, as far as our bounds go."""
        wanted = int(default if seconds is None else seconds)
        kept = min(max(wanted, SHORTEST_TOKEN_LIFETIME), LONGEST_TOKEN_LIFETIME)
        if kept != wanted:
            self.lose(f"a token lifetime of {wanted} seconds becomes {kept}")
        self.document["token_lifetime"] = kept

    def finished(self) -> Client | None:
        """Return the client without its secret; None if there can be none, and say why."""
        if self.refusal:
            return None
        try:
            return checked(
                {"client_id": self.client_id, "token_profile": TokenProfile.PLAIN, **self.document}
            )
        except UsageError as error:
            self.refusal = f"it breaks a rule here: {error.problem}"
            return None


def read_documents(text: str, source: str) -> Iterator[Any]:
    """Yield the JSON documents of a text: one, an array of them, or one after the other.

    Raises:
        UsageError: there is none, or the text is not JSON.
    """
    decoder, position = json.JSONDecoder(), 0
    found = 0
    while position < len(text.rstrip()):
        position += len(text[position:]) - len(text[position:].lstrip())
        try:
            document, position = decoder.raw_decode(text, position)
        except json.JSONDecodeError as error:
            # Without the text: an export holds secrets.
            raise UsageError(
                f"{source} is not JSON: line {error.lineno}, column {error.colno}: {error.msg}."
            ) from None
        found += 1
        yield from document if isinstance(document, list) else [document]
    if not found:
        raise UsageError(f"{source} is empty.")


def client_id_of(entry: Mapping[str, Any], name: str, source: str) -> str:
    """Return an entry's client_id.

    Raises:
        UsageError: it has none, so the file is of another kind.
    """
    client_id = entry.get(name) if isinstance(entry, dict) else None
    if not isinstance(client_id, str) or not client_id:
        raise UsageError(f"{source} has an entry without {name}.", "Is it of this format?")
    return client_id


def words(value: object) -> list[str]:
    """Return the words of a list, or of a text with spaces or commas between them."""
    if isinstance(value, str):
        return value.replace(",", " ").split()
    return [str(each) for each in value] if isinstance(value, list) else []
