"""The region, endpoints and credentials of AWS, from the variables of the process."""

import json
import re
import time
from _thread import allocate_lock
from collections.abc import Mapping
from contextlib import suppress
from typing import NamedTuple

from .aws import AwsError, AwsUnavailableError
from .clock import Clock, Deadline
from .https_client import HttpExchangeError, Request, Send, parse_url

# Partitions other than `aws`: the start of a region, the suffix of endpoints, that of dual-stack ones.
_PARTITIONS = (
    ("cn-", "amazonaws.com.cn", "api.amazonwebservices.com.cn"),
    ("eusc-", "amazonaws.eu", "api.amazonwebservices.eu"),
    ("us-iso-", "c2s.ic.gov", ""),
    ("us-isob-", "sc2s.sgov.gov", ""),
    ("us-isof-", "csp.hci.ic.gov", ""),
    ("eu-isoe-", "cloud.adc-e.uk", ""),
    ("", "amazonaws.com", "api.aws"),
)
_REGION = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_GOVERNMENT = "us-gov-"
# Their usual endpoints in the regions of the government are FIPS endpoints.
_FIPS_BY_DEFAULT = ("dynamodb", "ssm")
_REFRESH_SECONDS = 300
"""Credentials that expire within this time are replaced."""
_ECS = "169.254.170.2"
_CONTAINER_HOSTS = (_ECS, "169.254.170.23", "fd00:ec2::23")
"""The endpoints of ECS and EKS, which have no TLS."""


def region(environ: Mapping[str, str]) -> str:
    """Return the region.

    Raises:
        AwsError: none is set, or it is not a part of a host name.
    """
    found = environ.get("AWS_DEFAULT_REGION") or environ.get("AWS_REGION")
    if not found:
        raise AwsError("NoRegionError")
    if not _REGION.fullmatch(found):
        raise AwsError("InvalidRegionError")
    return found


def endpoint(service: str, region: str, environ: Mapping[str, str]) -> str:
    """Return the URL of a service without a slash at its end: the configured one or that of the region.

    Raises:
        AwsError: the configured one is not a URL.
    """
    if environ.get("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "").lower() != "true":
        own = f"AWS_ENDPOINT_URL_{'SECRETS_MANAGER' if service == 'secretsmanager' else service.upper()}"
        configured = environ.get(own) or environ.get("AWS_ENDPOINT_URL")
        if configured:
            try:
                target = parse_url(configured, allow_http=True).target
            except ValueError:
                target = "?"
            if "?" in target:
                raise AwsError("InvalidEndpointUrl")
            return configured.rstrip("/")
    is_fips = environ.get("AWS_USE_FIPS_ENDPOINT", "").lower() == "true"
    is_dual_stack = environ.get("AWS_USE_DUALSTACK_ENDPOINT", "").lower() == "true"
    suffix, dual_stack = next((single, dual) for start, single, dual in _PARTITIONS if region.startswith(start))
    if is_dual_stack and dual_stack and not (service == "secretsmanager" and not region.startswith("eusc-")):
        suffix = dual_stack
    elif region.startswith(_GOVERNMENT) and service in _FIPS_BY_DEFAULT:
        is_fips = False
    return f"https://{service}{'-fips' if is_fips else ''}.{region}.{suffix}"


class Credentials(NamedTuple):
    """Credentials. `token` is empty for those of a user, `expiration` for those that never expire."""

    access_key: str
    secret_key: str
    token: str = ""
    expiration: str = ""

    def __repr__(self) -> str:
        """Name the access key only, because the others are secret."""
        return f"Credentials({self.access_key})"


class EnvironmentCredentials:
    """Credentials in the environment, or those of a container's endpoint, which are refreshed.

    Lambda sets access keys. Functions with SnapStart have an endpoint instead, because a snapshot outlives such keys.
    """

    def __init__(self, environ: Mapping[str, str], send: Send, clock: Clock) -> None:
        self._environ = environ
        self._send = send
        self._clock = clock
        self._lock = allocate_lock()
        self._fetched: Credentials | None = None

    def get(self, deadline: Deadline) -> Credentials:
        """Return the current credentials.

        Raises:
            AwsError: there are none.
            AwsUnavailableError: the endpoint does not return any.
        """
        environ = self._environ
        access_key, secret_key = environ.get("AWS_ACCESS_KEY_ID"), environ.get("AWS_SECRET_ACCESS_KEY")
        if access_key and secret_key:
            return Credentials(access_key, secret_key, environ.get("AWS_SESSION_TOKEN", ""))
        path, url = (environ.get(f"AWS_CONTAINER_CREDENTIALS_{kind}_URI") for kind in ("RELATIVE", "FULL"))
        if path:
            url = f"http://{_ECS}{path}"
        if not url:
            raise AwsError("NoCredentialsError")
        current = self._fetched
        if current is None or self._expires_within(0, current):
            return self._refresh(url, current, deadline, deadline.remaining())
        if self._expires_within(_REFRESH_SECONDS, current):
            with suppress(AwsUnavailableError):  # half of the time is for the call
                return self._refresh(url, current, Deadline(deadline.remaining() / 2), 0)
        return current

    def _refresh(self, url: str, seen: Credentials | None, deadline: Deadline, wait_seconds: float) -> Credentials:
        """Fetch credentials, unless a concurrent caller replaced those that were seen."""
        if not self._lock.acquire(timeout=wait_seconds):
            raise AwsUnavailableError("CredentialRetrievalError")
        try:
            current = self._fetched
            if current is None or current is seen:
                current = self._fetched = self._fetch(url, deadline)
            return current
        finally:
            self._lock.release()

    def forget(self) -> bool:
        """Drop fetched credentials that AWS rejects. Return whether there were any."""
        found, self._fetched = self._fetched, None
        return found is not None

    def _expires_within(self, seconds: float, credentials: Credentials) -> bool:
        # Times of this format sort as text.
        then = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self._clock() + seconds))
        return credentials.expiration <= then

    def _fetch(self, url: str, deadline: Deadline) -> Credentials:
        token = self._environ.get("AWS_CONTAINER_AUTHORIZATION_TOKEN", "")
        file_name = self._environ.get("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE")
        try:
            if parse_url(url, allow_http=True).host not in _CONTAINER_HOSTS:
                parse_url(url)
            if file_name:
                with open(file_name, encoding="utf-8") as file:
                    token = file.read().strip()
            headers = {"Accept": "application/json"} | ({"Authorization": token} if token else {})
            response = self._send(Request("GET", url, headers, b"", deadline))
            if response.status == 200:
                members = json.loads(response.body)
                found = [members[name] for name in ("AccessKeyId", "SecretAccessKey", "Token", "Expiration")]
                if all(isinstance(each, str) and each for each in found):
                    return Credentials(*found)
        except (HttpExchangeError, KeyError, OSError, TypeError, ValueError):
            pass
        # Without the cause, whose text may contain the token.
        raise AwsUnavailableError("CredentialRetrievalError")
