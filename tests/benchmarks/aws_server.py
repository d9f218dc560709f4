"""AWS, a key set and an introspection endpoint on this machine, over TLS, with fixed responses."""

import json
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, NamedTuple

from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import DNSName
from cryptography.x509.oid import ExtendedKeyUsageOID

from local.certificates import issue

_CAPACITY = {"TableName": "table", "CapacityUnits": 1.0}


class Content(NamedTuple):
    """Items by the value of their key, secrets by name, a key set, and the answer of introspection."""

    items: Mapping[str, Mapping[str, Any]]
    secrets: Mapping[str, str]
    key_set: bytes
    introspection: bytes


class LocalAws(NamedTuple):
    """Its address, the certificate that signed its own, and a bundle with the machine's other certificates.

    A process that loads the bundle loads as many certificates as it does in Lambda. `calls` has the names of the AWS
    operations so far.
    """

    url: str
    authority: Path
    bundle: Path
    calls: list[str]


@contextmanager
def serving_aws(content: Content, place: Path) -> Iterator[LocalAws]:
    """Serve `content` from a thread of this process."""
    # Named as Amazon's, because clients may treat those differently from others.
    authority = issue("Amazon Root CA of this benchmark", [], None)
    server_file, authority_file = place / "server.pem", place / "authority.pem"
    server_file.write_bytes(
        issue("localhost", [DNSName("localhost")], authority, ExtendedKeyUsageOID.SERVER_AUTH).to_pem()
    )
    authority_file.write_bytes(authority.certificate.public_bytes(Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(server_file)
    server = _Server(content)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    bundle = place / "bundle.pem"
    machine = ssl.get_default_verify_paths().cafile
    bundle.write_bytes((Path(machine).read_bytes() if machine else b"") + authority_file.read_bytes())
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield LocalAws(f"https://localhost:{server.server_address[1]}", authority_file, bundle, server.calls)
    finally:
        server.shutdown()
        server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, content: Content) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.content = content
        self.calls: list[str] = []


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # headers and body in one write

    def do_GET(self) -> None:
        self._respond(self.server.content.key_set, "application/jwk-set+json")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        target = self.headers.get("X-Amz-Target")
        if target is None:
            self._respond(self.server.content.introspection, "application/json")
            return
        operation = target.rpartition(".")[2]
        self.server.calls.append(operation)
        answer = self._call(operation, json.loads(body))
        self._respond(json.dumps(answer).encode(), "application/x-amz-json-1.0")

    def _call(self, operation: str, parameters: Mapping[str, Any]) -> Mapping[str, Any]:
        if operation == "GetSecretValue":
            name = parameters["SecretId"]
            text = self.server.content.secrets[name]
            return {"ARN": name, "Name": name, "VersionId": "1", "SecretString": text, "VersionStages": ["AWSCURRENT"]}
        if operation == "GetItem":
            (key,) = parameters["Key"].values()
            item = self.server.content.items.get(key["S"])
            return {"ConsumedCapacity": _CAPACITY} | ({"Item": item} if item else {})
        return {"ConsumedCapacity": _CAPACITY}

    def _respond(self, body: bytes, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("x-amzn-RequestId", "0")
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def log_message(self, *_: object) -> None:
        """Log nothing."""
