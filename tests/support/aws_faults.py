"""A fault proxy between an AWS client and moto."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.compat import HTTPHeaders
from botocore.exceptions import ConnectTimeoutError, EndpointConnectionError, ReadTimeoutError
from moto.core.models import botocore_stubber

from authorizer.https_client import ConnectError, HttpExchangeError, Request, Response

Fault = tuple[int, str] | bytes | Exception | Callable[[Any], Any]
THROTTLED = (400, "ThrottlingException")
TIMED_OUT = ReadTimeoutError(endpoint_url="https://x.amazonaws.com")


class FaultProxy:
    """Counts the calls of AWS clients, and replaces the responses of operations with faults.

    A fault is an error (status and code), a body, an exception, or a function. A function alters the members of
    moto's response. The key of a fault is an operation, or "operation table" or "operation secret". `stand_ins`
    respond to requests that moto does not support.
    """

    def __init__(self, *clients: Any) -> None:
        self.calls: Counter[str] = Counter()
        self.bodies: dict[str, bytes] = {}
        self.faults: dict[str, Fault] = {}
        self.stand_ins: list[Callable[..., AWSResponse | None]] = []
        self.attach(*clients)

    def attach(self, *clients: Any) -> None:
        """Pass the calls of these boto3 clients, too."""
        for client in clients:
            client.meta.events.register_first("before-send", self)

    def __call__(self, request: AWSPreparedRequest, **event: Any) -> AWSResponse:
        target = request.headers["X-Amz-Target"]
        operation = (target.decode() if isinstance(target, bytes) else target).rpartition(".")[2]
        self.calls[operation] += 1
        body: Any = request.body
        sent = json.loads(body)
        resource = sent.get("SecretId") or sent.get("TableName")
        fault = self.faults.get(operation, self.faults.get(f"{operation} {resource}"))
        if isinstance(fault, Exception):
            raise fault
        if isinstance(fault, tuple):
            status, code = fault
            members = {"__type": code, "message": "table arn:aws:x"}
            return response_to(request, json.dumps(members).encode(), status)
        if isinstance(fault, bytes):
            return response_to(request, fault)
        backends: tuple[Any, ...] = (*self.stand_ins, botocore_stubber)
        response = next(filter(None, (each(request=request, **event) for each in backends)))
        if response.status_code == 200:
            self.bodies[operation] = response.content
            if fault:
                response.headers.pop("x-amz-crc32", None)  # boto3 would retry a wrong checksum
                altered = fault(json.loads(response.content))
                response._content = altered if isinstance(altered, bytes) else json.dumps(altered).encode()
        answered: AWSResponse = response
        return answered

    def send(self, request: Request) -> Response:
        """Exchange a request of a client that is not boto3."""
        prepared = AWSPreparedRequest(
            request.method, request.url, HTTPHeaders.from_dict(request.headers), request.body, False
        )
        try:
            response = self(prepared, event_name="before-send")
        except EndpointConnectionError as error:
            raise ConnectError("refused") from error
        except ConnectTimeoutError as error:
            raise ConnectError("late") from TimeoutError(str(error))
        except ReadTimeoutError as error:
            raise HttpExchangeError("late") from TimeoutError(str(error))
        headers = {name.lower(): value for name, value in response.headers.items()}
        return Response(response.status_code, headers, response.content)

    def lose_response(self, operation: str) -> None:
        """Lose the next response to an operation, which AWS has then executed."""

        def lose(_: object) -> None:
            del self.faults[operation]
            raise TIMED_OUT

        self.faults[operation] = lose


def response_to(request: AWSPreparedRequest, body: bytes, status: int = 200) -> AWSResponse:
    """Return a response that needs no network."""
    return AWSResponse(request.url, status, {}, _Body(body))  # type: ignore[arg-type]


class _Body:
    """The part of a raw HTTP body that botocore reads."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def stream(self, **_: object) -> Iterator[bytes]:
        yield self._content
