"""The grant types that the token endpoint knows, by their registered names."""

from typing import Final

CLIENT_CREDENTIALS: Final = "client_credentials"
TOKEN_EXCHANGE: Final = "urn:ietf:params:oauth:grant-type:token-exchange"

GRANT_TYPES: Final = (CLIENT_CREDENTIALS, TOKEN_EXCHANGE)
