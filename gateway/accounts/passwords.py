"""What is kept of a password, and is this the right one?"""

from __future__ import annotations

import secrets
import threading
from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from skyrelay.errors import Permanent

#: argon2id as OWASP recommends it: 19 MiB, two passes. More memory would be too much for the many
#: threads of a small server.
_HASHER = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
#: Passwords looked at by one process at once: others wait, so that a flood of logins cannot take
#: the memory that stages need.
_AT_ONCE = threading.BoundedSemaphore(4)
#: What NIST SP 800-63B asks of a password; it advises against rules about its characters.
SHORTEST = 8
_LONGEST = 1000


def hash_of(password: str) -> str:
    """What is stored of a password; nothing matches the hash of an empty one."""
    with _AT_ONCE:
        return _HASHER.hash(password) if password else ""


def matches(password_hash: str, password: str) -> bool:
    """Whether this is the password; takes as long where there is none."""
    with _AT_ONCE:
        try:
            return _HASHER.verify(password_hash or _hash_of_nobody(), password)
        except (VerificationError, InvalidHashError):
            return False


def is_outdated(password_hash: str) -> bool:
    """Whether the hash was made with less effort than is usual today."""
    return _HASHER.check_needs_rehash(password_hash)


def check(password: str, username: str) -> None:
    """Refuse what is no password for this user.

    Raises
    ------
    Permanent
        Says what is wrong with it.
    """
    if len(password) < SHORTEST:
        raise Permanent(f"The password is too short: it needs at least {SHORTEST} characters.")
    if len(password) > _LONGEST:
        raise Permanent(f"The password is too long: at most {_LONGEST} characters are taken.")
    if password.casefold() == username.casefold():
        raise Permanent("The password is the user's name: take another one.")


@cache
def _hash_of_nobody() -> str:
    return _HASHER.hash(secrets.token_hex(16))
