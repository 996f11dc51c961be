"""Random identifiers and secrets."""

import hashlib
import secrets
from uuid import UUID, uuid4

API_KEY_PREFIX = "land_sk_"  # the published clients refuse keys that start otherwise


def new_uuid() -> UUID:
    return uuid4()


def new_session_token() -> str:
    """Return 256 bits of randomness for a session cookie."""
    return secrets.token_urlsafe(32)


def new_api_key() -> str:
    """Return a new API key: the public prefix and 240 random bits."""
    return API_KEY_PREFIX + secrets.token_urlsafe(30)


def secret_hash(secret: str) -> str:
    """Return the SHA-256 of a high-entropy secret, hexadecimal.

    Fit for random tokens, which cannot be guessed; passwords go through `app.core.passwords`.
    """
    return hashlib.sha256(secret.encode()).hexdigest()
