"""What `make run` shows comes out as told."""

import os
import subprocess
import sys
from pathlib import Path

SCENE = Path(__file__).parents[2] / "deploy" / "scene.py"


def test_every_step_comes_out_as_told() -> None:
    """The scene ends well, and says so."""
    env, scene = {**os.environ, "RUN_ONCE": "1"}, [sys.executable, str(SCENE)]
    ended = subprocess.run(scene, env=env, capture_output=True, text=True, timeout=99, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "Every step had its expected result." in ended.stdout
