"""Keys in Secrets Manager and in KMS: the same contract, held on moto."""

import json
import time
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import Any

import boto3
import jwt
import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.exceptions import ClientError
from botocore.model import OperationModel
from cryptography.hazmat.primitives.asymmetric import mldsa
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256, SHA384
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key
from jwt.utils import base64url_decode
from moto.core.models import botocore_stubber
from mypy_boto3_kms.literals import KeySpecType, SigningAlgorithmSpecType

from functions.rotate_keys.handler import Settings, build
from functions.rotate_keys.key_backends import KEY_SPECS, KmsKeys
from functions.rotate_keys.key_rotation import Rotator
from functions.shared.clients.supported import SIGNING_ALGORITHMS
from functions.shared.keys import key_ring
from functions.shared.keys.key_ring import CachedKeyRing, KeyRing
from functions.shared.keys.signers import LONGEST_MESSAGE, SIGNING_ALGORITHM_SPECS, MessageTooLongError, RingSigners
from functions.shared.storage.errors import StorageError, StorageUnavailableError
from functions.shared.storage.secrets_manager import SecretConflictError
from tests.support.aws import ENVIRONMENT, KEY_RING_SECRET, SIGNING_KEYS_SECRET, AwsAccount
from tests.support.aws_faults import THROTTLED, TIMED_OUT, Fault, response_to
from tests.support.aws_server import GRANT, AwsServer
from tests.support.clock import ManualClock
from tests.support.proxy_events import basic, form_event, token_event
from tests.support.pyjwt_algorithms import algorithm
from tests.support.server import SECRET, client

BACKENDS = ("secrets-manager", "kms")
ALGORITHMS = SIGNING_ALGORITHMS
DAY = 86_400
NOT_FOUND: Any = {"Error": {"Code": "NotFoundException"}}


ED25519_ALGORITHM, ML_DSA_ALGORITHM = "ED25519_SHA_512", "ML_DSA_SHAKE_256"
LONGEST_RAW_MESSAGE = 4096
MU_LENGTH = 64
GENERATORS: Mapping[str, tuple[Callable[[], Any], str]] = {
    "ECC_NIST_EDWARDS25519": (Ed25519PrivateKey.generate, ED25519_ALGORITHM),
    "ML_DSA_44": (mldsa.MLDSA44PrivateKey.generate, ML_DSA_ALGORITHM),
    "ML_DSA_65": (mldsa.MLDSA65PrivateKey.generate, ML_DSA_ALGORITHM),
    "ML_DSA_87": (mldsa.MLDSA87PrivateKey.generate, ML_DSA_ALGORITHM),
}


class MissingKeys:
    """Keys of KMS that moto lacks: moto has the key, and this fake its public key and Sign.

    https://docs.aws.amazon.com/kms/latest/developerguide/symm-asymm-choose-key-spec.html
    https://docs.aws.amazon.com/kms/latest/developerguide/mldsa.html
    """

    def __init__(self) -> None:
        self._keys: dict[str, tuple[str, Any]] = {}

    def add_to(self, aws: AwsAccount) -> None:
        hook: Any = self._before_send
        aws.kms.meta.events.register_first("before-send.kms", hook)
        aws.proxy.stand_ins.append(hook)

    def _before_send(self, request: AWSPreparedRequest, **event: Any) -> AWSResponse | None:
        body: Any = request.body
        sent = json.loads(body)
        target: Any = request.headers["X-Amz-Target"]
        operation = (target.decode() if isinstance(target, bytes) else target).partition(".")[2]
        spec = sent.get("KeySpec")
        if operation == "CreateKey" and spec in GENERATORS:
            request.body = json.dumps({**sent, "KeySpec": "ECC_NIST_P256"})
            answer = botocore_stubber(request=request, **event)
            assert answer is not None
            metadata = json.loads(answer.content)["KeyMetadata"]
            generate, algorithm = GENERATORS[spec]
            self._keys[metadata["KeyId"]] = spec, generate()
            metadata |= {"KeySpec": spec, "SigningAlgorithms": [algorithm]}
            return response_to(request, json.dumps({"KeyMetadata": metadata}).encode())
        known = self._keys.get(str(sent.get("KeyId")).rpartition("/")[2])
        if known is None:
            return None
        if operation == "GetPublicKey":
            return response_to(request, json.dumps(_public_key(sent["KeyId"], *known)).encode())
        if operation == "Sign":
            return _sign(request, sent, *known)
        return None


def _public_key(key_id: str, spec: str, key: Any) -> dict[str, Any]:
    der = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return {
        "KeyId": key_id,
        "PublicKey": b64encode(der).decode(),
        "KeySpec": spec,
        "KeyUsage": "SIGN_VERIFY",
        "SigningAlgorithms": [GENERATORS[spec][1]],
    }


def _sign(request: AWSPreparedRequest, sent: Any, spec: str, key: Any) -> AWSResponse:
    message, kind, algorithm = b64decode(sent["Message"]), sent.get("MessageType", "RAW"), GENERATORS[spec][1]
    if sent["SigningAlgorithm"] != algorithm:
        return response_to(request, b'{"__type": "InvalidKeyUsageException"}', 400)
    is_mu = kind == "EXTERNAL_MU" and algorithm == ML_DSA_ALGORITHM and len(message) == MU_LENGTH
    if not is_mu and (kind != "RAW" or not 1 <= len(message) <= LONGEST_RAW_MESSAGE):
        return response_to(request, b'{"__type": "ValidationException"}', 400)
    signature = b64encode(key.sign_mu(message) if is_mu else key.sign(message)).decode()
    members = {"KeyId": sent["KeyId"], "Signature": signature, "SigningAlgorithm": algorithm}
    return response_to(request, json.dumps(members).encode())


class Authority(AwsServer):
    """A server whose ring is in moto: rotated, signed with and published."""

    def __post_init__(self) -> None:
        super().__post_init__()
        MissingKeys().add_to(self.aws)

    def rotation(self, backend: str, algorithms: str = "RS256") -> Rotator:
        settings = Settings.from_env(
            {**ENVIRONMENT, "KEY_EDITION": backend, "ALGORITHMS": algorithms, "STACK_NAME": "ours"}
        )
        kms_backend = KmsKeys(self.aws, settings.stack_name)
        return build(settings, clock=self.clock, secrets=self.secrets, kms_keys=kms_backend)

    def signers(self) -> RingSigners:
        warm = CachedKeyRing(self.secrets, KEY_RING_SECRET, self.clock)
        return RingSigners(warm, self.secrets, SIGNING_KEYS_SECRET, aws=self.aws)

    def ring(self) -> KeyRing:
        return key_ring.from_json(self.secrets.read(KEY_RING_SECRET))

    def verify(self, token: str, alg: str, audience: str | None = None) -> dict[str, Any]:
        """Verify as anyone does: with the published key set and PyJWT."""
        kid = jwt.get_unverified_header(token)["kid"]
        keys = self.ring().key_set(self.clock())["keys"]
        (jwk,) = [key for key in keys if key["kid"] == kid]
        assert jwk["alg"] == alg
        public_key: Any = algorithm(alg).from_jwk(jwk)
        claims: dict[str, Any] = jwt.decode(token, public_key, algorithms=[alg], audience=audience)
        return claims

    def kms_state(self) -> dict[str, str]:
        keys = self.aws.kms.list_keys()["Keys"]
        described = [self.aws.kms.describe_key(KeyId=key["KeyId"])["KeyMetadata"] for key in keys]
        return {key["Arn"]: key["KeyState"] for key in described}


@pytest.fixture
def authority(aws: AwsAccount, clock: ManualClock) -> Authority:
    return Authority(aws, clock)


# moto signs PS256 with the longest salt there can be. KMS's is as long as the digest, which is what
# RFC 7518, 3.5, wants and what verifiers insist on.
@pytest.mark.parametrize(
    ("backend", "alg"),
    [("secrets-manager", alg) for alg in ALGORITHMS] + [("kms", alg) for alg in ALGORITHMS if alg != "PS256"],
)
def test_signature_verifies_with_the_published_key(authority: Authority, backend: str, alg: str) -> None:
    authority.rotation(backend, alg).run()
    signer = authority.signers().current(authority.clock(), alg)
    (key,) = authority.ring().keys
    assert signer.kid == key.kid
    for typ in (None, "at+jwt"):
        token = signer.sign({"sub": "service"}, typ)
        assert authority.verify(token, alg) == {"sub": "service"}
        header = jwt.get_unverified_header(token)
        expected = {"alg": alg, "kid": key.kid}
        assert header == (expected | {"typ": typ} if typ else expected)


KMS_KEYS: dict[str, tuple[KeySpecType, SigningAlgorithmSpecType, SigningAlgorithmSpecType]] = {
    "ES256": ("ECC_NIST_P256", "ECDSA_SHA_256", "ED25519_SHA_512"),
    "ES384": ("ECC_NIST_P384", "ECDSA_SHA_384", "ECDSA_SHA_256"),
    "Ed25519": ("ECC_NIST_EDWARDS25519", "ED25519_SHA_512", "ECDSA_SHA_256"),
    "ML-DSA-44": ("ML_DSA_44", "ML_DSA_SHAKE_256", "ED25519_SHA_512"),
    "ML-DSA-65": ("ML_DSA_65", "ML_DSA_SHAKE_256", "ED25519_SHA_512"),
    "ML-DSA-87": ("ML_DSA_87", "ML_DSA_SHAKE_256", "ED25519_SHA_512"),
}
"""The key spec of a JWS algorithm, its signing algorithm, and one that the key does not have."""


HASHED_BY: dict[str, tuple[ECDSA]] = {"ES256": (ECDSA(SHA256()),), "ES384": (ECDSA(SHA384()),)}


@pytest.mark.parametrize("alg", KMS_KEYS)
def test_kms_contract(authority: Authority, alg: str) -> None:
    """moto with ECDSA and the fake with Ed25519 and ML-DSA have the same contract."""
    kms, (spec, algorithm, other) = authority.aws.kms, KMS_KEYS[alg]
    made = kms.create_key(KeySpec=spec, KeyUsage="SIGN_VERIFY")["KeyMetadata"]
    assert made["Arn"].endswith(f":key/{made['KeyId']}")
    assert (made["KeySpec"], made["SigningAlgorithms"]) == (spec, [algorithm])
    kms.create_alias(AliasName="alias/ours-signing/x", TargetKeyId=made["KeyId"])
    assert kms.describe_key(KeyId=made["KeyId"])["KeyMetadata"]["KeyState"] == "Enabled"
    public_key: Any = load_der_public_key(kms.get_public_key(KeyId=made["KeyId"])["PublicKey"])
    for key_id in (made["KeyId"], made["Arn"]):
        signature = kms.sign(KeyId=key_id, Message=b"message", MessageType="RAW", SigningAlgorithm=algorithm)[
            "Signature"
        ]
        public_key.verify(signature, b"message", *HASHED_BY.get(alg, ()))
    with pytest.raises(ClientError):
        kms.sign(KeyId=made["KeyId"], Message=b"message", SigningAlgorithm=other)
    if alg not in HASHED_BY:  # moto limits no message, and KMS digests those of other keys
        with pytest.raises(ClientError):
            kms.sign(KeyId=made["KeyId"], Message=b"x" * 4097, SigningAlgorithm=algorithm)
        with pytest.raises(ClientError):
            kms.sign(KeyId=made["KeyId"], Message=b"x" * 32, MessageType="DIGEST", SigningAlgorithm=algorithm)
        is_ml_dsa = algorithm == ML_DSA_ALGORITHM
        with nullcontext() if is_ml_dsa else pytest.raises(ClientError):
            kms.sign(KeyId=made["KeyId"], Message=b"x" * 64, MessageType="EXTERNAL_MU", SigningAlgorithm=algorithm)
        with pytest.raises(ClientError):
            kms.sign(KeyId=made["KeyId"], Message=b"x" * 63, MessageType="EXTERNAL_MU", SigningAlgorithm=algorithm)
    kms.schedule_key_deletion(KeyId=made["KeyId"], PendingWindowInDays=7)
    assert kms.describe_key(KeyId=made["KeyId"])["KeyMetadata"]["KeyState"] == "PendingDeletion"


def test_kms_has_the_key_specs_and_signing_algorithms_of_the_code() -> None:
    """The model of the API that botocore ships, which is AWS's own."""
    model = boto3.client("kms", region_name="eu-west-1").meta.service_model
    key_specs: Any = model.shape_for("KeySpec")
    signing_algorithms: Any = model.shape_for("SigningAlgorithmSpec")
    assert set(KEY_SPECS.values()) <= set(key_specs.enum)
    assert set(SIGNING_ALGORITHM_SPECS.values()) <= set(signing_algorithms.enum)
    assert KEY_SPECS.keys() == SIGNING_ALGORITHM_SPECS.keys() == set(SIGNING_ALGORITHMS)
    sign: Any = model.operation_model("Sign").input_shape
    message = sign.members["Message"]
    assert message.metadata["max"] == LONGEST_MESSAGE == LONGEST_RAW_MESSAGE
    message_types: Any = model.shape_for("MessageType")
    assert {"RAW", "DIGEST", "EXTERNAL_MU"} <= set(message_types.enum)


@pytest.mark.parametrize("alg", ["RS256", "ES256", "ES384"])
def test_long_message_is_signed_by_its_digest(authority: Authority, alg: str) -> None:
    """The digest is the algorithm's own. moto hashes a digest again, and the authentic service does not."""
    signed: list[tuple[str, int]] = []

    def record(params: dict[str, Any], **_: Any) -> None:
        signed.append((params["MessageType"], len(params["Message"])))

    authority.rotation("kms", alg).run()
    authority.aws.kms.meta.events.register("before-parameter-build.kms.Sign", record)
    signer = authority.signers().current(authority.clock(), alg)
    for length in (2000, 4096):
        signer.sign({"a": "x" * length}, None)
    (raw, length), digested = signed
    assert (raw, length > 2000) == ("RAW", True)
    assert digested == ("DIGEST", int(alg[2:]) // 8)


@pytest.mark.parametrize("alg", ["ML-DSA-44", "ML-DSA-65", "ML-DSA-87"])
def test_long_ml_dsa_message_is_signed_by_its_mu(authority: Authority, alg: str) -> None:
    """The signature is the one of the whole message. FIPS 204, 6.2."""
    authority.rotation("kms", alg).run()
    signer = authority.signers().current(authority.clock(), alg)
    for length in (1, 2900, 3100, 5000):
        assert authority.verify(signer.sign({"a": "x" * length}, None), alg) == {"a": "x" * length}


def test_oversized_ed25519_token_is_invalid_scope(authority: Authority) -> None:
    """Ed25519 takes no digest: MessageType is always RAW, and a raw message has 4,096 bytes."""
    authority.rotation("kms", "EdDSA").run()
    with pytest.raises(MessageTooLongError):
        authority.signers().current(authority.clock(), "EdDSA").sign({"a": "x" * 3100}, None)
    scopes = frozenset(f"{'s' * 60}{number}" for number in range(60))
    authority.clients.put(client("service", signing_algorithm="EdDSA", scopes=scopes))
    for wanted, status in ((sorted(scopes)[:3], 200), (sorted(scopes), 400)):
        form = GRANT | {"scope": " ".join(wanted)}
        answer = authority.token_endpoint(token_event(form, headers=basic("service", SECRET)))
        assert answer["statusCode"] == status, answer
    assert json.loads(answer["body"])["error"] == "invalid_scope"


@pytest.mark.parametrize("backend", BACKENDS)
def test_backend_rejects_other_algorithms(authority: Authority, backend: str) -> None:
    authority.rotation(backend).run()
    with pytest.raises(key_ring.UnusableKeyRingError):
        authority.signers().current(authority.clock(), "ES256")


def test_kms_key_is_tagged_with_its_stack_and_not_stored(authority: Authority) -> None:
    authority.rotation("kms").run()
    assert authority.secrets.read(SIGNING_KEYS_SECRET) is None
    assert "PRIVATE" not in (authority.secrets.read(KEY_RING_SECRET) or "")
    (arn,) = authority.kms_state()
    assert [key.signer for key in authority.ring().keys] == [arn]
    tags = authority.aws.kms.list_resource_tags(KeyId=arn)["Tags"]
    assert tags == [{"TagKey": "gatehouse:stack", "TagValue": "ours"}]


def test_new_kms_key_is_retried(authority: Authority) -> None:
    """KMS may not find a new key for a moment. A run that gave up would leave its key.

    https://docs.aws.amazon.com/kms/latest/developerguide/accessing-kms.html#programming-eventual-consistency
    """
    kms, paused = authority.aws.kms, list[float]()
    unknown = dict.fromkeys(("CreateAlias", "GetPublicKey"), 2)

    def not_yet(model: OperationModel, **_: object) -> None:
        if unknown[model.name]:
            unknown[model.name] -= 1
            raise kms.exceptions.NotFoundException(NOT_FOUND, model.name)

    for operation in unknown:
        kms.meta.events.register(f"before-call.kms.{operation}", not_yet)
    key = KmsKeys(authority.aws, "ours", paused.append).create("ES256", authority.clock())
    assert key.signer
    assert len(kms.list_keys()["Keys"]) == 1
    assert paused == [0.25, 0.5] * 2


def test_missing_kms_key_is_an_error(authority: Authority) -> None:
    kms, paused = authority.aws.kms, list[float]()

    def never(**_: object) -> None:
        raise kms.exceptions.NotFoundException(NOT_FOUND, "GetPublicKey")

    kms.meta.events.register("before-call.kms.GetPublicKey", never)
    with pytest.raises(StorageError):
        KmsKeys(authority.aws, "ours", paused.append).create("ES256", authority.clock())
    assert sum(paused) < 5


def test_changed_backend_is_a_normal_rotation(authority: Authority) -> None:
    clock = authority.clock
    authority.rotation("secrets-manager").run()
    local = authority.ring().keys[0].kid
    clock.now += 60
    authority.rotation("kms").run()
    assert authority.signers().current(clock.now, "RS256").kid == local
    clock.now += DAY
    token = authority.signers().current(clock.now, "RS256").sign({}, None)
    assert jwt.get_unverified_header(token)["kid"] != local
    assert authority.verify(token, "RS256") == {}
    # And back again.
    authority.rotation("secrets-manager").run()
    clock.now += DAY
    back = authority.signers().current(clock.now, "RS256").sign({}, None)
    assert authority.verify(back, "RS256") == {}
    assert len(authority.ring().keys) == 3


def test_only_retired_kms_keys_are_deleted(authority: Authority) -> None:
    clock = authority.clock
    foreign = authority.aws.kms.create_key()["KeyMetadata"]["Arn"]
    # moto dates keys itself, so this clock has to be the one on the wall.
    clock.now = time.time() - 32 * DAY
    authority.rotation("kms").run()
    clock.now = time.time() - 2 * DAY
    authority.rotation("kms").run()
    old, new = authority.ring().keys
    clock.now = time.time() + 2 * 3_600
    assert authority.rotation("kms").run().deleted_private_halves == 1
    state = authority.kms_state()
    assert state == {
        foreign: "Enabled", old.signer: "PendingDeletion", new.signer: "Enabled"
    }  # fmt: skip
    assert authority.rotation("kms").run().deleted_private_halves == 0


@pytest.mark.parametrize(
    ("status", "code", "error"),
    [
        (400, "ThrottlingException", StorageUnavailableError),
        (500, "KMSInternalException", StorageUnavailableError),
        (503, "DependencyTimeoutException", StorageUnavailableError),
        (500, "KeyUnavailableException", StorageUnavailableError),
        (400, "AccessDeniedException", key_ring.UnusableKeyRingError),
        (400, "DisabledException", key_ring.UnusableKeyRingError),
        (400, "KMSInvalidStateException", key_ring.UnusableKeyRingError),
        (400, "NotFoundException", key_ring.UnusableKeyRingError),
    ],
)
@pytest.mark.usefixtures("no_pauses")
def test_temporary_kms_errors_are_retried(authority: Authority, status: int, code: str, error: type[Exception]) -> None:
    authority.rotation("kms", "ES256").run()
    signer = authority.signers().current(authority.clock(), "ES256")
    proxy = authority.aws.proxy
    proxy.attach(authority.aws.kms)
    proxy.calls.clear()
    proxy.faults["Sign"] = (status, code)
    with pytest.raises(error):
        signer.sign({}, None)
    assert proxy.calls["Sign"] == (2 if error is StorageUnavailableError else 1)


def test_ps256_is_requested_by_name(authority: Authority) -> None:
    authority.rotation("kms", "PS256").run()
    token = authority.signers().current(authority.clock(), "PS256").sign({}, None)
    message, _, signature = token.rpartition(".")
    (key,) = authority.ring().keys
    answer = authority.aws.kms.verify(
        KeyId=key.signer,
        Message=message.encode(),
        Signature=base64url_decode(signature),
        SigningAlgorithm="RSASSA_PSS_SHA_256",
    )
    assert answer["SignatureValid"]


def test_concurrent_rotations_leave_one_complete_ring(authority: Authority) -> None:
    def rotate(_: int) -> None:
        authority.rotation("secrets-manager", "ES256").run()

    with ThreadPoolExecutor(4) as threads:
        outcomes = [threads.submit(rotate, number) for number in range(4)]
    errors = [outcome.exception() for outcome in outcomes if outcome.exception()]
    assert all(isinstance(error, SecretConflictError) for error in errors)
    (key,) = authority.ring().keys
    signer = authority.signers().current(authority.clock(), "ES256")
    assert authority.verify(signer.sign({}, None), "ES256") == {}
    assert signer.kid == key.kid


def test_introspection_response_is_signed_in_kms(authority: Authority) -> None:
    authority.rotation("kms").run()
    authority.clients.put(client("service"))
    headers = {**basic("service", SECRET), "Accept": "application/token-introspection+jwt"}
    event = form_event("/oauth2/introspect", {"token": "unknown"}, headers=headers)
    answer = authority.introspection_endpoint(event)
    claims = authority.verify(answer["body"], "RS256", audience="service")
    assert claims["token_introspection"] == {"active": False}


@pytest.mark.parametrize("fault", [THROTTLED, TIMED_OUT], ids=["throttled", "slow"])
def test_slow_kms_is_503_with_retry_after(authority: Authority, fault: Fault) -> None:
    authority.rotation("kms").run()
    authority.clients.put(client("service"))
    assert authority.status("service") == 200
    proxy = authority.aws.proxy
    proxy.attach(authority.aws.kms)
    proxy.calls.clear()
    proxy.faults["Sign"] = fault
    answer = authority.token_endpoint(token_event(GRANT, headers=basic("service", SECRET)))
    assert answer["statusCode"] == 503
    assert answer["headers"]["Retry-After"] == "1"
    assert json.loads(answer["body"])["error"] == "temporarily_unavailable"
    assert proxy.calls["Sign"] == 2
    assert "arn:" not in answer["body"] + authority.log[-1]
