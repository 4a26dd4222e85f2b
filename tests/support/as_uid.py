"""Run the command `maxmemd` as another user: `python -m tests.support.as_uid UID VERB ...`.

The interpreter and the libraries may be in a folder that only root may enter. So all that the
command imports on its way is imported first.
"""

import os
import sys
import uuid
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory

from maxmemd.__main__ import main
from maxmemd.ledger.migrate import migrate

LATER = (
    "maxmemd.daemon", "maxmemd.config.file", "maxmemd.xen.simulated", "maxmemd.api.server.run",
    "maxmemd.ledger.backup", "stringprep", "encodings.idna", "encodings.ascii", "unicodedata",
    "asyncio.staggered", "concurrent.futures.thread", "mako.template", "uvicorn.lifespan.off",
)  # fmt: skip
"""Imported by serve only when it is needed."""


def become(uid: int) -> None:
    """Be that user from now on, of its own group alone."""
    if uid != os.geteuid():
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)


if __name__ == "__main__":
    for name in LATER:
        import_module(name)
    with TemporaryDirectory() as folder:
        migrate(Path(folder, "warm.sqlite"))
    uuid.uuid4()
    become(int(sys.argv[1]))
    sys.exit(main(sys.argv[2:]))
