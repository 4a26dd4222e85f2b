"""`python -m tests.system.fuzz [SECONDS]`, or `make fuzz`: inputs that the target cannot bear.

Coverage-guided (atheris, libFuzzer): it begins with `corpus/`, keeps what opens new ways in
~/.cache/maxmemd/fuzz, and writes what breaks the target into `found/`, where the ordinary tests
play it again for ever after.
"""

import argparse
import sys
from pathlib import Path

HERE = Path(__file__).parent
GROWN = Path.home() / ".cache" / "maxmemd" / "fuzz"
MOST_BYTES = 20_000
"""A little more than a head may have."""
MOST_MEMORY_MIB = 768
"""The target has about 120 MiB; one that grows ends the run."""
INPUT_WITHIN_S = 10
FUZZED = ["maxmemd", "uvicorn.protocols", "urllib.parse"]


def main() -> None:
    """Run until the time is up, or something breaks. Never returns: libFuzzer ends the process."""
    parser = argparse.ArgumentParser(prog="python -m tests.system.fuzz", description=__doc__)
    parser.add_argument("seconds", nargs="?", type=int, default=300)
    seconds = parser.parse_args().seconds
    try:
        import atheris
    except ImportError:
        sys.exit("cannot fuzz: atheris is not installed (make fuzz installs it)")
    with atheris.instrument_imports(include=FUZZED):
        from tests.system.fuzz.target import Target
    target = Target()
    GROWN.mkdir(parents=True, exist_ok=True)
    options = [
        f"-max_total_time={seconds}",
        f"-max_len={MOST_BYTES}",
        f"-rss_limit_mb={MOST_MEMORY_MIB}",
        f"-timeout={INPUT_WITHIN_S}",
        f"-artifact_prefix={HERE / 'found'}/",
        f"-dict={HERE / 'http.dict'}",
        "-reload=0",
        "-print_final_stats=1",
    ]
    folders = [str(GROWN), str(HERE / "corpus"), str(HERE / "found")]
    atheris.Setup([sys.argv[0], *options, *folders], lambda data: target.give(data) and None)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
