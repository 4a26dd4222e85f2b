"""`python -m tests.support.loaded WORDS`: run the daemon; at its end it prints its modules."""

import gc
import json
import sys

from maxmemd.__main__ import main

if __name__ == "__main__":
    status = main()
    packages = sorted({name.partition(".")[0] for name in sys.modules})
    collector = {"is_on": gc.isenabled(), "frozen": gc.get_freeze_count(), "at": gc.get_threshold()}
    print(json.dumps({"packages": packages, "collector": collector}))
    sys.exit(status)
