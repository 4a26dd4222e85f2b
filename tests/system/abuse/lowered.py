"""`python -m tests.system.abuse.lowered CONNECTIONS ...`: maxmemd with a lower bound of those.

A slow machine reaches it, too: a connection that rests is not closed before the last one begins.
"""

import sys

from uvicorn.config import Config

from maxmemd.__main__ import main
from maxmemd.api.server import protocol

RESTS_FOR_S = 600


def _with_rest(config: Config) -> None:
    load(config)
    config.timeout_keep_alive = RESTS_FOR_S


if __name__ == "__main__":
    protocol.MOST_CONNECTIONS = int(sys.argv[1])
    load = Config.load
    Config.load = _with_rest  # type: ignore[method-assign]
    sys.exit(main(sys.argv[2:]))
