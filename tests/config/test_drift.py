"""What the configuration says of drift and fights, and what of that is refused."""

import re
import tomllib
from pathlib import Path

import pytest

from maxmemd.__main__ import main
from maxmemd.config.file import parse
from maxmemd.config.settings import Config
from maxmemd.errors import ConfigError
from maxmemd.policy.fights import FightRules

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.mark.parametrize(
    ("poll_s", "within_s", "quiet_s"), [(2.0, 60.0, 300.0), (6.0, 60.0, 300.0), (200.0, 2e3, 400.0)]
)
def test_rare_polls_can_still_see_a_fight(poll_s: float, within_s: float, quiet_s: float) -> None:
    """A poll sees one foreign write at most: a fight's time is never shorter than they take."""
    assert Config(poll_s=poll_s).fights == FightRules(5, within_s, quiet_s)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (
            'drift_of = { "a*" = "adopt", "*b" = "alert" }',
            r"'a\*': a name may match '\*b' as",
        ),
        ('drift_of = { "" = "adopt" }', "a key is a domain's UUID, its name, or a pattern"),
        ('drift_of = { web = "ignore" }', 'write one of "restore", "adopt", "alert"'),
        ('drift_of = "adopt"', "write a table, like"),
        ("fight_writes = 1", "write a whole number from 2 to 1000"),
        ("fight_writes = true", "write a whole number from 2 to 1000"),
        ("fight_quiet_s = 1", "write a number of seconds from 60 to 86400"),
    ],
)
def test_what_cannot_be_said_of_drift(line: str, why: str) -> None:
    """A key that means no domain, modes that contradict each other, numbers out of range."""
    text = f"# first\n{line}\n"
    with pytest.raises(ConfigError, match=why) as raised:
        parse(tomllib.loads(text), "m.toml", text)
    assert "m.toml:2: " in str(raised.value)


def test_check_config_says_which_key_comes_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As docs/configuration.md prints it, whatever the order in the file."""
    path = tmp_path / "m.toml"
    modes = '{ "sys-*" = "adopt", build = "alert", "sys-net-*" = "alert" }'
    path.write_text(f"drift_of = {modes}", encoding="utf-8")
    database = ["--database", str(tmp_path / "l")]
    assert main(["check-config", "--config", str(path), *database]) == 0
    told = [line for line in capsys.readouterr().out.splitlines() if line.startswith("#")]
    page = (DOCS / "configuration.md").read_text(encoding="utf-8")
    assert told == re.findall(r"^# drift of .*", page, re.MULTILINE)
