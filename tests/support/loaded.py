"""`python -m tests.support.loaded WORDS`: run the daemon; at its end it prints what it imported."""

import json
import sys

from maxmemd.__main__ import main

if __name__ == "__main__":
    status = main()
    print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
    sys.exit(status)
