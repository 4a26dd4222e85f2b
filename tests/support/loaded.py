"""`python -m tests.support.loaded WORDS`: run the daemon; at its end it prints its modules."""

import gc
import json
import os
import sys
from typing import NoReturn

from maxmemd.__main__ import main

end = os._exit


def tell_and_end(status: int) -> NoReturn:
    """Print what is loaded, and end this process as the daemon does."""
    packages = sorted({name.partition(".")[0] for name in sys.modules})
    collector = {"is_on": gc.isenabled(), "frozen": gc.get_freeze_count(), "at": gc.get_threshold()}
    print(json.dumps({"packages": packages, "collector": collector}), flush=True)
    end(status)


if __name__ == "__main__":
    os._exit = tell_and_end
    sys.exit(main())
