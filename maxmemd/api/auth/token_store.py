"""Bearer tokens for TCP clients: 256 random bits, of which only the SHA-256 is stored.

They are in a file beside the ledger, mode 0600. It is replaced atomically, so that creating and
revoking a token survive a crash.
"""

import hashlib
import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Lock

from maxmemd.errors import ConfigError, TokensError, TokensFull
from maxmemd.files import NO_SPACE, check_trusted, open_private, open_regular, sync, why_unusable
from maxmemd.policy.roles import GIVEN

PREFIX = "mxm_"
"""Lets people and secret scanners recognise a token."""
MOST = 1000


@dataclass(frozen=True, slots=True)
class Token:
    """What is stored of a token. `actor` is JSON text: who created it.

    `expires_ns` is by the host's clock; None: the token is valid until it is revoked. `serial`
    tells it from another one of its name, which its client's idempotency keys are not for; a token
    of an earlier version has none.
    """

    name: str
    sha256: str
    role: str
    created_ns: int
    actor: str
    expires_ns: int | None = None
    serial: str | None = None

    def has_expired(self, now_ns: int) -> bool:
        """Whether the token is refused at this time."""
        return self.expires_ns is not None and now_ns >= self.expires_ns


class TokenStore:
    """The tokens that were not revoked. Thread-safe.

    Raises ConfigError if the file cannot be trusted.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = Lock()
        self._by_hash: Mapping[str, Token] = {one.sha256: one for one in _read(path)}

    def find(self, secret: str) -> Token | None:
        """Return the token with this secret, expired or not."""
        return self._by_hash.get(_hash(secret))

    def holds(self, token: Token) -> bool:
        """Whether the store still has this very token, not a later one of its name."""
        return self._by_hash.get(token.sha256) == token

    def all(self) -> list[Token]:
        """Return the tokens, by name."""
        return sorted(self._by_hash.values(), key=lambda token: token.name)

    def create(
        self, name: str, role: str, actor: str, now_ns: int, *, expires_ns: int | None = None
    ) -> str | None:
        """Return the secret of a new token, the only time it is shown; None if the name is taken.

        Expired tokens are removed, and their names are free. Raises TokensError if nothing was
        created.
        """
        secret = PREFIX + secrets.token_urlsafe(32)
        with self._lock:
            kept = {key: one for key, one in self._by_hash.items() if not one.has_expired(now_ns)}
            if any(token.name == name for token in kept.values()):
                return None
            if len(kept) >= MOST:
                raise TokensError(f"cannot keep more than {MOST} tokens: revoke some")
            serial = secrets.token_hex(8)
            token = Token(name, _hash(secret), role, now_ns, actor, expires_ns, serial)
            self._keep({**kept, token.sha256: token})
        return secret

    def revoke(self, name: str) -> bool:
        """Remove a token; return whether there was one. Raises TokensError."""
        with self._lock:
            left = {key: token for key, token in self._by_hash.items() if token.name != name}
            if len(left) == len(self._by_hash):
                return False
            self._keep(left)
        return True

    def _keep(self, tokens: Mapping[str, Token]) -> None:
        """Write the file durably, and only then use what it says."""
        text = json.dumps({"tokens": [_to_json(token) for token in tokens.values()]}, indent=1)
        new = self._path.with_name(self._path.name + ".new")
        try:
            new.unlink(missing_ok=True)
            descriptor = open_private(new, os.O_WRONLY | os.O_EXCL)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(descriptor)
            new.replace(self._path)
            sync(self._path.parent)
        except OSError as error:
            kind = TokensFull if error.errno in NO_SPACE else TokensError
            raise kind(f"cannot write {self._path}: {error.strerror}") from error
        self._by_hash = tokens


def _read(path: Path) -> list[Token]:
    try:
        with open_regular(path) as file:
            found = os.fstat(file.fileno())
            check_trusted(path, found, is_secret=True)
            tokens = [Token(**one) for one in json.load(file)["tokens"]]
    except FileNotFoundError:
        return []
    except OSError as error:
        detail = f"cannot read {path}: {error.strerror}"
        raise ConfigError(f"{detail}{why_unusable(path)}") from error
    except (ValueError, KeyError, TypeError) as error:
        detail = f"cannot read {path}: {error!r}: it is not as it was written"
        instead = "put a backup of it in its place, or move it away and create the tokens again"
        raise ConfigError(f"{detail} ({instead})") from error
    for token in tokens:
        if token.role not in GIVEN:
            raise ConfigError(f"cannot use {path}: {token.name} has the role {token.role!r}")
        if not isinstance(token.expires_ns, int | None):
            raise ConfigError(f"cannot use {path}: {token.name} expires at {token.expires_ns!r}")
        if not isinstance(token.serial, str | None):
            raise ConfigError(f"cannot use {path}: {token.name} has the serial {token.serial!r}")
    return tokens


def _to_json(token: Token) -> dict[str, object]:
    """Return a token as the file has it; fields that are None are left out."""
    return {name: value for name, value in asdict(token).items() if value is not None}


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()
