"""Where the introspection credentials come from."""

from authorizer import aws, strict_json
from authorizer.errors import IntrospectionFailed
from authorizer.introspection import Credentials, CredentialSource
from authorizer.reasons import Reason


def fixed(client_id: str, client_secret: str) -> CredentialSource:
    """Return a source that always gives the same credentials."""
    credentials = Credentials(client_id, client_secret)
    return lambda _anew, _seconds: credentials


class SecretsManagerCredentials:
    """Credentials in a Secrets Manager secret: `{"client_id": ..., "client_secret": ...}`.

    Fetched when first needed and kept warm; fetched again when the endpoint refuses them, as it
    does after the secret was rotated.
    """

    def __init__(self, secret_arn: str) -> None:
        self._secret_arn = secret_arn
        self._kept: Credentials | None = None

    def __call__(self, anew: bool, seconds: float) -> Credentials:  # noqa: FBT001 - a CredentialSource
        """Return the credentials, within so many seconds.

        Raises:
            IntrospectionFailed: the secret cannot be read.
        """
        if self._kept is None or anew:
            self._kept = _parse(_fetch(self._secret_arn, seconds))
        return self._kept


def _fetch(secret_arn: str, seconds: float) -> str:
    try:
        client = aws.secrets_manager(seconds)
        return client.get_secret_value(SecretId=secret_arn).get("SecretString", "")
    except aws.errors() as error:
        raise IntrospectionFailed(Reason.INTROSPECTION_CREDENTIALS) from error


def _parse(secret: str) -> Credentials:
    try:
        members = strict_json.parse_object(secret.encode())
    except strict_json.JsonError:
        raise IntrospectionFailed(Reason.INTROSPECTION_CREDENTIALS) from None
    client_id, client_secret = members.get("client_id"), members.get("client_secret")
    if not isinstance(client_id, str) or not isinstance(client_secret, str):
        raise IntrospectionFailed(Reason.INTROSPECTION_CREDENTIALS)
    return Credentials(client_id, client_secret)
