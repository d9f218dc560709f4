"""AWS client for the few operations of the request paths. boto3 would take most of a cold start.

Each call is one POST of JSON, signed with Signature Version 4. A call is retried after a lost or damaged response.
Callers therefore make writes idempotent, except increments of a failure counter: one may count twice.
"""

import json
import os
import re
import sys
import time
from _hashlib import hmac_digest, openssl_sha256  # importing hashlib and hmac takes 2 ms more
from binascii import a2b_base64, b2a_base64, crc32
from collections.abc import Callable, Mapping
from typing import Any

from .aws import AwsError, AwsUnavailableError
from .aws_environment import Credentials, EnvironmentCredentials, endpoint, region
from .cache import Jitter, jitter
from .clock import Clock, Clocks, Deadline
from .https_client import ConnectError, ConnectionPool, HttpExchangeError, Request, Response, Send

_SERVICES = {
    "dynamodb": ("DynamoDB_20120810", "1.0"),
    "kms": ("TrentService", "1.1"),
    "secretsmanager": ("secretsmanager", "1.1"),
    "ssm": ("AmazonSSM", "1.1"),
}
"""The prefix of operations and the version of JSON."""

_CODE = re.compile(r"[A-Za-z0-9.]{1,100}")
_Readers = Mapping[str, Callable[[object], Any]]

_LONGEST_BACKOFF = 0.1
_LARGEST_SKEW = 60.0

# Retried codes, including write conflicts.
_RETRIED_CODES = frozenset(
    {
        "BandwidthLimitExceeded",
        "LimitExceededException",
        "PriorRequestNotComplete",
        "ProvisionedThroughputExceededException",
        "ReplicatedWriteConflictException",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "RequestTimeout",
        "RequestTimeoutException",
        "SlowDown",
        "ThrottledException",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
        "TransactionCanceledException",
        "TransactionConflictException",
        "TransactionInProgressException",
    }
)

# Errors of a signature, which a wrong clock may have caused.
_CLOCK_CODES = frozenset(
    {"InvalidSignatureException", "RequestExpired", "RequestTimeTooSkewed", "SignatureDoesNotMatch"}
)
_CREDENTIAL_CODES = frozenset({"ExpiredTokenException", "UnrecognizedClientException"})


class AwsClient:
    """Calls AWS services over HTTPS, in at most `timeout` seconds and `attempts` attempts.

    Each attempt may use an equal share of the time that is left. With two attempts, a connection that
    broke while Lambda froze the process therefore costs half of it.
    """

    def __init__(
        self,
        timeout: float,
        *,
        attempts: int = 2,
        environ: Mapping[str, str] = os.environ,
        clock: Clock = time.time,
        monotonic: Clock = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        jitter: Jitter = jitter,
        send: Send | None = None,
    ) -> None:
        self._timeout = timeout
        self._attempts = attempts
        self._environ = environ
        self._clock = clock
        self._monotonic = monotonic
        self._sleep = sleep
        self._jitter = jitter
        self._send = send or ConnectionPool(Clocks(clock, monotonic)).send
        self._credentials = EnvironmentCredentials(environ, self._send, clock)
        self._skews: dict[str, float] = {}

    def call(
        self, service: str, operation: str, deadline: Deadline | None = None, **parameters: object
    ) -> dict[str, Any]:
        """Call an operation, one of `OPERATIONS`.

        A missing or unreadable response, HTTP 429, 5xx and `_RETRIED_CODES` are retried. Other errors are not.
        """
        readers = OPERATIONS[operation]
        sys.audit("gatehouse.aws.call", service, operation, parameters)
        sent = {**parameters, "ReturnConsumedCapacity": "TOTAL"} if service == "dynamodb" else parameters
        body = json.dumps(sent, default=_to_base64).encode()
        left = self._timeout if deadline is None else min(self._timeout, deadline.remaining())
        deadline = Deadline(left, self._monotonic)
        failures = 0
        while True:
            share = Deadline(deadline.remaining() / (self._attempts - failures), self._monotonic)
            try:
                response = self._exchange(service, operation, body, share)
                return _read(operation, response, *readers)
            except AwsUnavailableError:
                failures += 1
                if failures == self._attempts or not deadline.remaining():
                    raise
            backoff = self._jitter() * _LONGEST_BACKOFF * 2 ** (failures - 1)
            self._sleep(min(backoff, deadline.remaining()))

    def _exchange(self, service: str, operation: str, body: bytes, deadline: Deadline) -> Response:
        """Return a successful response. After a corrected clock or new credentials, the request is sent again once."""
        response = self._send_signed(service, operation, body, deadline)
        if response.status >= 300:
            error = _error(operation, response)
            if not self._correct(service, error.code, response):
                raise error
            response = self._send_signed(service, operation, body, deadline)
            if response.status >= 300:
                raise _error(operation, response)
        return response

    def _send_signed(self, service: str, operation: str, body: bytes, deadline: Deadline) -> Response:
        name = region(self._environ)
        url = endpoint(service, name, self._environ) + "/"
        host, _, path = url.partition("://")[2].partition("/")
        credentials = self._credentials.get(deadline)
        prefix, version = _SERVICES[service]
        headers = {
            "content-type": f"application/x-amz-json-{version}",
            "host": host,
            "x-amz-date": time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(self._clock() + self._skews.get(service, 0.0))),
            "x-amz-target": f"{prefix}.{operation}",
        }
        if credentials.token:
            headers["x-amz-security-token"] = credentials.token
        try:
            headers["authorization"] = authorization(
                "POST", f"/{path}", headers, body, credentials, region=name, service=service
            )
            return self._send(Request("POST", url, headers, body, deadline))
        except HttpExchangeError as error:
            # Without the cause, whose text may contain a header.
            raise AwsUnavailableError(_connection_error(error), endpoint=url) from None
        except UnicodeEncodeError:
            # Without the cause, which contains a credential.
            raise AwsError("MalformedCredentialsError") from None

    def _correct(self, service: str, code: str, response: Response) -> bool:
        """Correct the service's clock or the credentials after an error. Return whether another attempt may succeed."""
        if code in _CREDENTIAL_CODES:
            return self._credentials.forget()
        if code not in _CLOCK_CODES:
            return False
        from email.utils import parsedate_to_datetime

        try:
            skew = parsedate_to_datetime(response.headers["date"]).timestamp() - self._clock()
        except (KeyError, OverflowError, ValueError):
            return False
        is_wrong = abs(skew - self._skews.get(service, 0.0)) > _LARGEST_SKEW
        if is_wrong:
            self._skews[service] = skew
        return is_wrong


def authorization(
    method: str,
    path: str,
    headers: Mapping[str, str],
    body: bytes,
    credentials: Credentials,
    *,
    region: str,
    service: str,
) -> str:
    """Sign a request without a query with Signature Version 4, and return its `Authorization` header.

    `path` has nothing to encode or to normalize. All headers are signed. Their names are in lower case, and `host` and
    `x-amz-date` are among them.
    """
    moment = headers["x-amz-date"]
    names = sorted(headers)
    signed = ";".join(names)
    lines = "".join(f"{name}:{' '.join(headers[name].split())}\n" for name in names)
    canonical = f"{method}\n{path}\n\n{lines}\n{signed}\n{_sha256(body)}"
    scope = f"{moment[:8]}/{region}/{service}/aws4_request"
    to_sign = f"AWS4-HMAC-SHA256\n{moment}\n{scope}\n{_sha256(canonical.encode())}"
    key = f"AWS4{credentials.secret_key}".encode()
    for part in (*scope.split("/"), to_sign):
        key = hmac_digest(key, part.encode(), "sha256")
    return (
        f"AWS4-HMAC-SHA256 Credential={credentials.access_key}/{scope}, SignedHeaders={signed}, Signature={key.hex()}"
    )


def _sha256(message: bytes) -> str:
    return openssl_sha256(message).hexdigest()


def _connection_error(error: HttpExchangeError) -> str:
    """Return the name that botocore has for the error, because logs and alarms know it."""
    from http.client import HTTPException

    is_late = isinstance(error.__cause__, TimeoutError)
    is_lost = isinstance(error.__cause__, OSError | HTTPException)
    if "SSL" in type(error.__cause__).__name__:
        return "SSLError"
    if isinstance(error, ConnectError):
        return "ConnectTimeoutError" if is_late else "EndpointConnectionError"
    return "ReadTimeoutError" if is_late else "ConnectionClosedError" if is_lost else "HTTPClientError"


def rejection(code: str, message: str, status: int, operation: str) -> AwsError:
    """Return the error of a response with this code and HTTP status."""
    is_retried = code in _RETRIED_CODES or status == 429 or status >= 500
    return (AwsUnavailableError if is_retried else AwsError)(code, message, operation=operation)


def _error(operation: str, response: Response) -> AwsError:
    """Return the error of a response, by AWS's code or else by the HTTP status."""
    try:
        members = json.loads(response.body)
        code = members["__type"].partition(":")[0].rpartition("#")[2]
        message = str(members.get("message") or members.get("Message") or "")
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError):
        code = message = ""
    if not _CODE.fullmatch(code):  # a proxy may write anything, and the code is logged
        code = ""
    if code in _CLOCK_CODES:
        message = ""  # it contains the request's headers, of which one is the session token
    return rejection(code or str(response.status), message, response.status, operation)


def _read(operation: str, response: Response, required: _Readers, optional: _Readers) -> dict[str, Any]:
    """Return the members of a success.

    Raises:
        AwsUnavailableError: it is not the response of this operation.
    """
    try:
        return _read_members(response, required, optional)
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError):
        # Without the cause, whose text may contain a secret.
        raise AwsUnavailableError("the response cannot be read", operation=operation) from None


def _read_members(response: Response, required: _Readers, optional: _Readers) -> dict[str, Any]:
    """Return the members of a success, checked and with blobs as bytes.

    An unreadable response must not look like "no such item", "not revoked" or "first use". Each DynamoDB request
    therefore asks for the consumed capacity, which only DynamoDB's own response has.

    Raises:
        AttributeError, KeyError, TypeError, ValueError: it is not the response of this operation.
    """
    checksum = response.headers.get("x-amz-crc32")
    if checksum is not None and int(checksum) != crc32(response.body):
        raise ValueError("a checksum of other bytes")
    members = {name: value for name, value in json.loads(response.body).items() if value is not None}
    for name, read in required.items():
        members[name] = _not_empty(read(members[name]))
    for name, read in optional.items():
        if name in members:
            members[name] = read(members[name])
    return members


def _not_empty(value: Any) -> Any:
    if value in ("", b"", {}):
        raise ValueError("an empty value")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("not a text")
    return value


def _blob(value: object) -> bytes:
    return a2b_base64(_text(value))


def _members(value: object) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise TypeError("not an object")
    return value


def _list(read: Callable[[object], object]) -> Callable[[object], object]:
    def read_all(value: object) -> object:
        if not isinstance(value, list):
            raise TypeError("not a list")
        return [read(each) for each in value]

    return read_all


def _boolean(value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError("not a boolean")
    return value


def _item(value: object) -> object:
    return {name: _attribute(each) for name, each in _members(value).items()}


def _attribute(value: object) -> object:
    ((kind, content),) = _members(value).items()
    return {kind: _ATTRIBUTES[kind](content)}


def _parameter(value: object) -> object:
    return {**_members(value), "Value": _not_empty(_text(_members(value)["Value"]))}


_ATTRIBUTES: Mapping[str, Callable[[object], object]] = {
    "S": _text,
    "N": _text,
    "B": _blob,
    "BOOL": _boolean,
    "NULL": _boolean,
    "M": _item,
    "L": _list(_attribute),
    "SS": _list(_text),
    "NS": _list(_text),
    "BS": _list(_blob),
}

_CAPACITY = {"ConsumedCapacity": _members}
OPERATIONS: Mapping[str, tuple[_Readers, _Readers]] = {
    "DeleteItem": (_CAPACITY, {"Attributes": _item}),
    "GetItem": (_CAPACITY, {"Item": _item}),
    "GetParameter": ({"Parameter": _parameter}, {}),
    "GetPublicKey": ({"PublicKey": _blob}, {}),
    "GetSecretValue": ({"VersionId": _text}, {"SecretString": _text, "SecretBinary": _blob}),
    "PutItem": (_CAPACITY, {"Attributes": _item}),
    "Query": ({**_CAPACITY, "Items": _list(_item)}, {"LastEvaluatedKey": _item}),
    "Sign": ({"Signature": _blob}, {}),
    "UpdateItem": (_CAPACITY, {"Attributes": _item}),
}
"""The members of each operation's response that are required and not empty, and those that may be absent."""


def _to_base64(value: object) -> str:
    """Encode a blob in a request."""
    if not isinstance(value, bytes):
        raise TypeError(f"{type(value).__name__} in the parameters of an AWS call")
    return b2a_base64(value, newline=False).decode()
