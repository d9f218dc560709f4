"""Ed25519 keys of KMS, which moto lacks: moto has the key, and this fake its public key and Sign.

https://docs.aws.amazon.com/kms/latest/developerguide/symm-asymm-choose-key-spec.html
"""

import json
from base64 import b64decode, b64encode
from typing import Any

from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from moto.core.models import botocore_stubber
from mypy_boto3_kms import KMSClient

from tests.support.aws_faults import response_to

SPEC = "ECC_NIST_EDWARDS25519"
ALGORITHM = "ED25519_SHA_512"
LONGEST_MESSAGE = 4096


class Ed25519Keys:
    """Answers for Ed25519 keys in the place of moto, once a client is added."""

    def __init__(self) -> None:
        self._keys: dict[str, Ed25519PrivateKey] = {}

    def add_to(self, kms: KMSClient) -> None:
        hook: Any = self._before_send
        kms.meta.events.register_first("before-send.kms", hook)

    def _before_send(self, request: AWSPreparedRequest, **event: Any) -> AWSResponse | None:
        body: Any = request.body
        sent = json.loads(body)
        target: Any = request.headers["X-Amz-Target"]
        operation = (target.decode() if isinstance(target, bytes) else target).partition(".")[2]
        if operation == "CreateKey" and sent.get("KeySpec") == SPEC:
            request.body = json.dumps({**sent, "KeySpec": "ECC_NIST_P256"})
            answer = botocore_stubber(request=request, **event)
            assert answer is not None
            metadata = json.loads(answer.content)["KeyMetadata"]
            self._keys[metadata["KeyId"]] = Ed25519PrivateKey.generate()
            metadata |= {"KeySpec": SPEC, "SigningAlgorithms": [ALGORITHM]}
            return response_to(request, json.dumps({"KeyMetadata": metadata}).encode())
        key = self._keys.get(str(sent.get("KeyId")).rpartition("/")[2])
        if key is None:
            return None
        if operation == "GetPublicKey":
            return response_to(request, json.dumps(_public_key(sent["KeyId"], key)).encode())
        if operation == "Sign":
            return _sign(request, sent, key)
        return None


def _public_key(key_id: str, key: Ed25519PrivateKey) -> dict[str, Any]:
    der = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return {
        "KeyId": key_id,
        "PublicKey": b64encode(der).decode(),
        "KeySpec": SPEC,
        "KeyUsage": "SIGN_VERIFY",
        "SigningAlgorithms": [ALGORITHM],
    }


def _sign(request: AWSPreparedRequest, sent: Any, key: Ed25519PrivateKey) -> AWSResponse:
    message = b64decode(sent["Message"])
    if sent["SigningAlgorithm"] != ALGORITHM:
        return response_to(request, b'{"__type": "InvalidKeyUsageException"}', 400)
    if sent.get("MessageType", "RAW") != "RAW" or not 1 <= len(message) <= LONGEST_MESSAGE:
        return response_to(request, b'{"__type": "ValidationException"}', 400)
    signature = b64encode(key.sign(message)).decode()
    members = {"KeyId": sent["KeyId"], "Signature": signature, "SigningAlgorithm": ALGORITHM}
    return response_to(request, json.dumps(members).encode())
