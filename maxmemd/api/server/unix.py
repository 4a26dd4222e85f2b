"""The Unix sockets: passed by systemd, or bound by us, never world-writable even for an instant."""

import grp
import logging
import os
import socket
import stat
from pathlib import Path

from maxmemd.config.parsers import NONE
from maxmemd.config.settings import Config
from maxmemd.errors import ConfigError
from maxmemd.files import need_folder, need_safe_folders

LOG = logging.getLogger("maxmemd.api")
UNITS = {"socket": "maxmemd.socket", "device_model_socket": "maxmemd-device-model.socket"}


def open_sockets(
    passed: tuple[socket.socket, socket.socket | None] | None, config: Config
) -> tuple[socket.socket, socket.socket | None]:
    """Return the API's socket, and the device-model socket if there is one.

    They are systemd's if it passed any, else the configured ones. Raises ConfigError.
    """
    if passed is None:
        sock = bind(config.socket, config.socket_group)
        return sock, None if config.device_model_socket_path is None else bind_device_model_socket(
            config.device_model_socket_path
        )
    api, device_model = passed
    for path in [Path(sock.getsockname()) for sock in passed if sock is not None]:
        # systemd's folder may be closed to us (0700 root): the socket in it cannot be looked at
        if path.parent.exists():
            need_safe_folders(path, f"serve systemd's socket {path}")
    _compare("socket", api, config.socket)
    if device_model is not None and config.device_model_socket == NONE:
        LOG.warning(
            "device_model_socket is none, so connections to the socket that systemd passed, %s,"
            " are refused (systemctl mask --now maxmemd-device-model.socket removes it)",
            device_model.getsockname(),
        )
    elif device_model is not None and config.device_model_socket_path is not None:
        _compare("device_model_socket", device_model, config.device_model_socket_path)
    if config.socket_group and not _has_group(api, config.socket_group):
        LOG.warning(
            "systemd gave %s another group than socket_group = %s"
            " (set SocketGroup= of maxmemd.socket: systemctl edit maxmemd.socket)",
            api.getsockname(), config.socket_group,
        )  # fmt: skip
    return passed


def _compare(key: str, passed: socket.socket, wanted: Path) -> None:
    """Warn if systemd passed another socket than the configured one."""
    found, unit = passed.getsockname(), UNITS[key]
    if found != str(wanted):
        LOG.warning(
            "systemd passed the socket %s, so the configured %s = %s is not served"
            " (change ListenStream= in %s, or the configuration)", found, key, wanted, unit
        )  # fmt: skip


def _has_group(passed: socket.socket, group: str) -> bool:
    try:
        return Path(passed.getsockname()).stat().st_gid == grp.getgrnam(group).gr_gid
    except (KeyError, OSError):  # no such group, or no such socket
        return False


def bind(path: Path, group: str = "") -> socket.socket:
    """Return a listening socket at `path`, mode 0660, owned by `group` if one is named.

    A stale socket is replaced; one that a process answers on, and a file that is no socket, is not.
    Raises ConfigError.
    """
    need_folder(path, f"listen on {path}")
    need_safe_folders(path, f"listen on {path}")
    _clear(path)
    return _bind(path, 0o117, _group_id(path, group) if group else -1)


def bind_device_model_socket(path: Path) -> socket.socket:
    """Return a listening socket for device models at `path`, mode 0666.

    Its folder must have mode 0700, so it can only be reached by a hard link that root or the
    daemon's user made elsewhere.
    Raises ConfigError.
    """
    _closed_folder(path)
    need_safe_folders(path, f"listen on {path}")
    _clear(path)
    return _bind(path, 0o111, -1)


def _bind(path: Path, umask: int, owner: int) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(umask)
    try:
        sock.bind(str(path))
        os.chown(path, -1, owner, follow_symlinks=False)
    except OSError as error:
        sock.close()
        detail = error.strerror or error
        raise ConfigError(f"cannot listen on {path}: {detail}") from error
    finally:
        os.umask(before)
    sock.listen(1024)
    sock.setblocking(False)
    return sock


def _group_id(path: Path, group: str) -> int:
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        detail = f"cannot give {path} to group {group!r}: there is no such group"
        raise ConfigError(f"{detail} (create it, or change socket_group)") from None


def _closed_folder(path: Path) -> None:
    """Refuse a folder that others may enter. The default one is made if it is not there."""
    folder = path.parent
    need_folder(path, f"listen on {path}")
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise ConfigError(f"cannot listen on {path}: {folder} is not a directory of our own")
    if stat.S_IMODE(found.st_mode) & 0o077:
        detail = f"cannot listen on {path}: others may enter {folder}, and the socket has mode 0666"
        raise ConfigError(f"{detail} (chmod 700 {folder})")


def _clear(path: Path) -> None:
    if path.is_symlink():
        raise ConfigError(f"cannot listen on {path}: a symbolic link is in the way (remove it)")
    if not path.exists():
        return
    if not path.is_socket():
        raise ConfigError(f"cannot listen on {path}: a file that is not a socket is in the way")
    probe = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        probe.connect(str(path))
    except OSError:
        path.unlink()
    else:
        raise ConfigError(f"cannot listen on {path}: another process answers there")
    finally:
        probe.close()
