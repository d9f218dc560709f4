"""Stores in memory. They pass the same contract tests as the AWS stores."""

from threading import Lock

from authorizer.state_table import state_key
from functions.shared.clients.client import Client, is_client_id
from functions.shared.clients.trust_rule import FederatedClient, TrustRule, to_item
from functions.shared.clients.trust_store import DynamoDbTrust, TrustedIssuer
from functions.shared.storage.errors import StorageUnavailableError
from functions.shared.storage.secrets_manager import SecretConflictError, SecretStore, SecretVersion
from functions.shared.storage.state_table import AlreadyUsedError, Counters, JwtDenyList, OneTimeUse, SecretUses
from functions.shared.tokens.opaque_tokens import ActiveToken, OpaqueTokenStore, is_opaque_token, token_digest


class MemoryClients:
    """Clients, and which ids were looked up."""

    def __init__(self, *clients: Client) -> None:
        self._clients = {client.client_id: client for client in clients}
        self.lookups: list[str] = []

    def find(self, client_id: str) -> Client | None:
        self.lookups.append(client_id)
        return self._clients.get(client_id) if is_client_id(client_id) else None

    def find_again(self, client_id: str, since: float) -> Client | None:
        return self._clients.get(client_id)

    def put(self, client: Client) -> None:
        self._clients[client.client_id] = client


class MemoryTrust(DynamoDbTrust):
    """Trust rules and federated clients, and which issuers were looked up."""

    def __init__(self, *entries: TrustRule | FederatedClient) -> None:
        self.entries = list(entries)
        self.lookups: list[str] = []
        self.is_unavailable = False

    def find(self, issuer: str) -> TrustedIssuer | None:
        self.lookups.append(issuer)
        if self.is_unavailable:
            raise StorageUnavailableError(reason="the trust table is unavailable")
        items = [to_item(entry) for entry in self.entries if entry.issuer == issuer]
        return TrustedIssuer.of(items) if items else None


class MemoryTokens(OpaqueTokenStore):
    """Opaque tokens, by digest."""

    def __init__(self) -> None:
        self.by_digest: dict[str, ActiveToken] = {}

    def put(self, token: str, meaning: ActiveToken) -> None:
        self.by_digest[token_digest(token)] = meaning

    def find(self, token: str, now: float) -> ActiveToken | None:
        meaning = self.by_digest.get(token_digest(token)) if is_opaque_token(token) else None
        return meaning if meaning and now < meaning.expires_at else None

    def revoke(self, token: str, active: ActiveToken) -> None:
        self.by_digest.pop(token_digest(token), None)


class MemoryDenyList(JwtDenyList):
    """Revoked tokens by name, with the time until which each is remembered."""

    def __init__(self) -> None:
        self.until: dict[str, int] = {}

    def add(self, name: str, expires_at: int) -> None:
        self.until[name] = expires_at

    def holds(self, name: str, now: float) -> bool:
        return now < self.until.get(name, 0)


class MemorySecrets(SecretStore):
    """Texts by name, and how often each was read."""

    def __init__(self, **texts: str) -> None:
        self.texts = dict(texts)
        self.reads: list[str] = []
        self._lock = Lock()

    def read(self, name: str) -> str | None:
        self.reads.append(name)
        return self.texts.get(name)

    def write(self, name: str, text: str) -> None:
        self.texts[name] = text

    def read_version(self, name: str) -> SecretVersion | None:
        text = self.read(name)
        return None if text is None else SecretVersion(str(hash(text)), text)

    def replace(self, name: str, text: str, seen: SecretVersion | None) -> None:
        with self._lock:
            if self.texts.get(name) != (seen.text if seen else None):
                raise SecretConflictError
            self.write(name, text)


class MemoryOneTimeUse(OneTimeUse):
    """Used values, with the time until which each is remembered."""

    def __init__(self) -> None:
        self.until: dict[str, int] = {}
        self._lock = Lock()

    def consume(self, kind: str, owner: str, value: str, expires_at: int, now: float) -> None:
        name = state_key(kind, owner, value)
        with self._lock:
            if self.until.get(name, 0) > now:
                raise AlreadyUsedError
            self.until[name] = expires_at


class MemoryCounters(Counters):
    """Counters by name, and when each may be forgotten."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.until: dict[str, int] = {}
        self._lock = Lock()

    def increment(self, key: str, expires_at: int) -> int:
        with self._lock:
            self.until[key] = expires_at
            self.counts[key] = self.counts.get(key, 0) + 1
            return self.counts[key]


class MemorySecretUses(SecretUses):
    """Last days of use, and the number of writes."""

    def __init__(self) -> None:
        self.days: dict[tuple[str, str], int] = {}
        self.writes = 0

    def record(self, client_id: str, digest: str, day: int) -> None:
        self.writes += 1
        self.days[client_id, digest] = max(day, self.days.get((client_id, digest), 0))

    def last_used(self, client_id: str, digest: str) -> int | None:
        return self.days.get((client_id, digest))
