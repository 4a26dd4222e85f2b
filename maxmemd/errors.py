"""What can go wrong around a decision, as facts with permanent codes.

    MaxmemError
    |-- HypervisorError      xen-failed          Xen answered a hypercall with an errno
    |   |-- DomainGone       domain-gone         ESRCH: no such domain any more
    |   |-- NotPermitted     xen-not-permitted   EPERM: this is not the control domain
    |   `-- WrongInterface   xen-wrong-interface EACCES: domctl of another Xen
    |-- XenstoreError        xenstore-failed     xenstored is away or refused
    |-- LedgerError          ledger-failed       SQLite could not read or write
    |   |-- LedgerBusy       ledger-busy         another process holds the database
    |   |-- LedgerFull       ledger-full         no space for the next decision
    |   |-- LedgerCorrupt    ledger-corrupt      what was read is not what was written
    |   `-- LedgerTooNew     ledger-too-new      a later maxmemd wrote this database
    |-- ArbiterBusy          arbiter-busy        no answer in time, or the queue is full
    |-- TokensError          tokens-failed       the tokens of remote clients cannot be kept
    `-- ConfigError          config-invalid      the configuration file cannot be used

A refusal of a wish is not an error: it is a value (policy/verdicts.py). A code is never changed
and never reused. HTTP status is known only to api/problems.py, exit status only to cli.py.
"""

import errno as _errno
import os


class MaxmemError(Exception):
    """Anything that maxmemd reports by code. The message starts with "cannot"."""

    code = "internal"


class HypervisorError(MaxmemError):
    """A hypercall failed. `errno` is Xen's, positive."""

    code = "xen-failed"

    def __init__(self, what: str, domid: int | None, errno: int) -> None:
        self.what, self.domid, self.errno = what, domid, errno
        name = _errno.errorcode.get(errno, str(errno))
        on = "" if domid is None else f" on domain {domid}"
        super().__init__(f"cannot {what}{on}: {name} ({os.strerror(errno)})")

    @classmethod
    def of(cls, what: str, domid: int | None, errno: int) -> "HypervisorError":
        """Return the class that this errno means."""
        return _BY_ERRNO.get(errno, HypervisorError)(what, domid, errno)


class DomainGone(HypervisorError):
    """There is no domain of that domid, or it is another domain by now (A3, A6)."""

    code = "domain-gone"


class NotPermitted(HypervisorError):
    """Xen does not let this domain, or this process, do that."""

    code = "xen-not-permitted"


class WrongInterface(HypervisorError):
    """The hypercall's interface version is not the running Xen's (A2)."""

    code = "xen-wrong-interface"


_BY_ERRNO: dict[int, type[HypervisorError]] = {
    _errno.ESRCH: DomainGone,
    _errno.EPERM: NotPermitted,
    _errno.EACCES: WrongInterface,
}


class XenstoreError(MaxmemError):
    """xenstored did not do what was asked."""

    code = "xenstore-failed"

    def __init__(self, what: str, errno: int) -> None:
        self.what, self.errno = what, errno
        super().__init__(f"cannot {what}: {os.strerror(errno)}")


class LedgerError(MaxmemError):
    """The ledger could not be read or written; nothing was confirmed."""

    code = "ledger-failed"


class LedgerBusy(LedgerError):
    """Another process holds the database's write lock."""

    code = "ledger-busy"


class LedgerFull(LedgerError):
    """There is no space left where the database is."""

    code = "ledger-full"


class LedgerCorrupt(LedgerError):
    """A gap, an edit or a flipped bit: the ledger is not what was written."""

    code = "ledger-corrupt"


class LedgerTooNew(LedgerError):
    """The database was migrated by a later maxmemd than this one."""

    code = "ledger-too-new"


class ArbiterBusy(MaxmemError):
    """The arbiter did not answer in time; whether the wish was granted is in the history."""

    code = "arbiter-busy"


class TokensError(MaxmemError):
    """A token was not created or not revoked: the file could not be written."""

    code = "tokens-failed"


class ConfigError(MaxmemError):
    """The configuration cannot be used; the message names the file, the key and what to write.

    `key` is whose value it is, where only who read the file can tell its line.
    """

    code = "config-invalid"

    def __init__(self, message: str, key: str = "") -> None:
        self.key = key
        super().__init__(message)
