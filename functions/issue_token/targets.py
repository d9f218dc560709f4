"""Targets: for which APIs a token is. RFC 8707. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from functions.shared.clients.client_record import TokenFormat, TokenProfile
from functions.shared.clients.resource_indicators import is_resource_indicator
from functions.shared.web.oauth_errors import InvalidTargetError

if TYPE_CHECKING:
    from collections.abc import Collection

    from functions.shared.clients.client_record import Client


def default_audience(client: Client) -> tuple[str, ...]:
    """Return the audience of a token whose request names none.

    Raises:
        InvalidTargetError: the client has no default, and its kind of token needs an API.
    """
    if client.token_format is TokenFormat.OPAQUE:
        return client.audience or (client.client_id,)
    if client.token_profile is TokenProfile.PLAIN:
        return (client.client_id,)
    return required_audience(client)


def required_audience(client: Client) -> tuple[str, ...]:
    """Return the client's own default audience.

    Raises:
        InvalidTargetError: it has none.
    """
    if not client.audience:
        raise InvalidTargetError("Name the resource that the token is for.")
    return client.audience


def named_audience(
    client: Client, resources: Collection[str], names: Collection[str] = ()
) -> tuple[str, ...]:
    """Return the one API that a request names, by `resource` or, in an exchange, by `audience`.

    One at a time, though RFC 8707, 2, lets a request name several: each API in a token's audience
    could use the token at all the others.

    Raises:
        InvalidTargetError: malformed, unknown, not the client's to address, or several.
    """
    if not all(map(is_resource_indicator, resources)):
        raise InvalidTargetError("A resource is an absolute URI without a fragment.")
    wanted = frozenset((*resources, *names))
    if not wanted.issubset((*client.audience, *client.allowed_resources)):
        raise InvalidTargetError
    if len(wanted) > 1:
        raise InvalidTargetError("A token is for one resource: ask for one at a time.")
    return tuple(wanted)
