"""Seeds that follow from other seeds."""

import hashlib


def derived_seed(*parts: int | str) -> int:
    """A seed of 31 bits that depends on all parts."""
    digest = hashlib.sha256("/".join(str(part) for part in parts).encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1
