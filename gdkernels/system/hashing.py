"""SHA-256: OpenSSL is loaded for the first digest, not with gdkernels."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hashlib import _Hash as Hash

__all__ = ["sha256"]


def sha256(data: bytes | memoryview = b"") -> Hash:
    """Return the digest of `data`, to which you can add more."""
    import hashlib

    return hashlib.sha256(data)
