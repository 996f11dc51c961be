"""Password hashing with Argon2id (RFC 9106), through argon2-cffi with its recommended parameters."""

import secrets

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

MIN_PASSWORD_LENGTH = 10

_hasher = PasswordHasher()
_decoy_hash: str | None = None


def hash_password(password: str) -> str:
    return _hasher.hash(password)


def is_password(password: str, password_hash: str | None) -> bool:
    """Tell whether `password` matches; takes the same time where there is no such user (`password_hash` None)."""
    global _decoy_hash
    if password_hash is None:
        if _decoy_hash is None:
            _decoy_hash = _hasher.hash(secrets.token_hex(16))
        _verify(password, _decoy_hash)
        return False
    return _verify(password, password_hash)


def needs_rehash(password_hash: str) -> bool:
    return _hasher.check_needs_rehash(password_hash)


def generate_password() -> str:
    """Return a random password that can be read out: four groups of four letters and digits (about 79 bits)."""
    alphabet = "abcdefghjkmnpqrstuvwxyz23456789"
    return "-".join("".join(secrets.choice(alphabet) for _ in range(4)) for _ in range(4))


def _verify(password: str, password_hash: str) -> bool:
    try:
        return _hasher.verify(password_hash, password)
    except (VerificationError, InvalidHashError):
        return False
