from typing import cast

import pytest
from mypy_boto3_kms import KMSClient

from functions.shared.keys.signers import KmsAlgorithm, OnlySignsError

ALGORITHM = KmsAlgorithm(cast("KMSClient", None), "RS256")


def test_kms_key_only_signs() -> None:
    with pytest.raises(OnlySignsError):
        ALGORITHM.verify(b"", "arn", b"")
    with pytest.raises(OnlySignsError):
        ALGORITHM.to_jwk("arn")
    with pytest.raises(OnlySignsError):
        ALGORITHM.from_jwk("{}")
