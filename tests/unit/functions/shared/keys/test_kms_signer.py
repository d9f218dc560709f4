import pytest

from authorizer.aws import Boto3
from functions.shared.keys.signers import KmsAlgorithm, OnlySignsError

ALGORITHM = KmsAlgorithm(Boto3(3), "RS256")


def test_kms_key_only_signs() -> None:
    with pytest.raises(OnlySignsError):
        ALGORITHM.verify(b"", "arn", b"")
    with pytest.raises(OnlySignsError):
        ALGORITHM.to_jwk("arn")
    with pytest.raises(OnlySignsError):
        ALGORITHM.from_jwk("{}")
