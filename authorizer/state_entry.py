"""Names of entries in the table that remembers things for a while.

The authorization server keeps its own in the same table and names them in the same way.
"""

from hashlib import sha256


def entry(kind: str, *parts: str) -> str:
    """Name an entry: what kind of thing it is, and a digest of its parts, each after its length."""
    digest = sha256()
    for part in parts:
        raw = part.encode()
        digest.update(len(raw).to_bytes(8, "big") + raw)
    return f"{kind}#{digest.hexdigest()}"
