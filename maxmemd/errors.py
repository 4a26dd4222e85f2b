"""Errors with permanent codes.

    MaxmemError
    |-- HypervisorError      xen-failed          Xen answered a hypercall with an errno
    |   |-- DomainGone       domain-gone         ESRCH: no such domain any more
    |   |-- NotPermitted     xen-not-permitted   EPERM: this is not the control domain
    |   `-- WrongInterface   xen-wrong-interface EACCES: domctl of another Xen
    |-- XenstoreError        xenstore-failed     xenstored is away or refused
    |-- DomainFault          internal            a fault of maxmemd, met with one domain
    |-- LedgerError          ledger-failed       SQLite could not read or write
    |   |-- LedgerBusy       ledger-busy         another process holds the database
    |   |-- LedgerFull       ledger-full         no space left for the next decision
    |   |-- LedgerMoved      ledger-moved        its path names another file, or none
    |   |-- LedgerCorrupt    ledger-corrupt      not what was written
    |   |-- EventsPruned     event-id-pruned     older events are no longer kept
    |   `-- LedgerTooNew     ledger-too-new      a later maxmemd wrote this database
    |-- ReadTooLong          read-too-long       a dear read was not done in time, and was ended
    |-- ArbiterBusy          arbiter-busy        no answer in time, or the queue is full
    |-- TokensError          tokens-failed       remote clients' tokens cannot be stored
    |   `-- TokensFull       ledger-full         no space left beside the ledger
    `-- ConfigError          config-invalid      the configuration file cannot be used

A refused wish is not an error but a value (policy/verdicts.py). A code is never changed and never
reused. HTTP statuses are in api/problems.py, exit statuses in cli/.
"""

import errno as _errno
import os


class MaxmemError(Exception):
    """An error that maxmemd reports by its code. The message begins with "cannot"."""

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
        """Return an error of the class that stands for this errno."""
        return _BY_ERRNO.get(errno, HypervisorError)(what, domid, errno)


class DomainGone(HypervisorError):
    """No domain has that domid, or another one has it now (A3, A6)."""

    code = "domain-gone"


class NotPermitted(HypervisorError):
    """Xen does not permit this to the calling domain or process."""

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
    """xenstored is away, or refused a request."""

    code = "xenstore-failed"

    def __init__(self, what: str, errno: int) -> None:
        self.what, self.errno = what, errno
        super().__init__(f"cannot {what}: {os.strerror(errno)}")


class DomainFault(MaxmemError):
    """A fault of maxmemd that was met with one domain; the others go on."""

    code = "internal"


class LedgerError(MaxmemError):
    """The ledger could not be read or written; nothing was confirmed."""

    code = "ledger-failed"


class LedgerBusy(LedgerError):
    """Another process holds the database's write lock."""

    code = "ledger-busy"


class LedgerFull(LedgerError):
    """No space is left on the database's file system."""

    code = "ledger-full"


class LedgerMoved(LedgerError):
    """The database's path names another file than the one that is open, or none."""

    code = "ledger-moved"


class LedgerCorrupt(LedgerError):
    """The ledger is not what was written: a gap, an edit or a flipped bit."""

    code = "ledger-corrupt"


class EventsPruned(LedgerError):
    """The events after a position are no longer all there."""

    code = "event-id-pruned"


class LedgerTooNew(LedgerError):
    """A later maxmemd has migrated the database."""

    code = "ledger-too-new"


class ReadTooLong(MaxmemError):
    """A dear read was not done within its time, and was ended."""

    code = "read-too-long"


class ArbiterBusy(MaxmemError):
    """The arbiter did not answer in time; the history shows whether the wish was granted."""

    code = "arbiter-busy"


class TokensError(MaxmemError):
    """A token was not created or revoked: its file could not be written."""

    code = "tokens-failed"


class TokensFull(TokensError):
    """No space is left for the tokens: they are on the ledger's file system."""

    code = "ledger-full"


class ConfigError(MaxmemError):
    """The configuration cannot be used; the message names the file, the key and what to write.

    `key` is the key whose value is wrong, for the file's reader to find its line.
    """

    code = "config-invalid"

    def __init__(self, message: str, key: str = "") -> None:
        self.key = key
        super().__init__(message)
