"""Names of entries in the table that remembers things for a while.

The authorization server writes its own into the same table and takes the names from here.
"""

from hashlib import sha256

REVOKED = "revoked"


def entry(kind: str, *parts: str) -> str:
    """Name an entry: what kind of thing it is, and a digest of its parts, each after its length."""
    digest = sha256()
    for part in parts:
        raw = part.encode("utf-8", "surrogatepass")
        digest.update(len(raw).to_bytes(8, "big") + raw)
    return f"{kind}#{digest.hexdigest()}"


def revoked_jwt(issuer: str, jti: str | None, token: str) -> str:
    """Name the entry of a revoked JWT: by its `jti`, or by what was signed where it has none.

    Not by the whole token, because some signatures can be written in more than one way.
    """
    if jti is not None:
        return entry(REVOKED, issuer, "jti", jti)
    signing_input = token.rpartition(".")[0]
    return entry(REVOKED, issuer, "signing-input", sha256(signing_input.encode()).hexdigest())
