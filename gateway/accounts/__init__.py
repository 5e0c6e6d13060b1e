"""Users of the gateway: who they are, how they prove it, and how much of it they may use."""

from gateway.accounts.passwords import hash_of
from gateway.accounts.tokens import key_of, user_of_key
from gateway.accounts.users import authenticate, create_user, find_user

__all__ = ["authenticate", "create_user", "find_user", "hash_of", "key_of", "user_of_key"]
