"""What the wheel contains, as hatchling would build it."""

from pathlib import Path

from hatchling.builders.wheel import WheelBuilder

ROOT = Path(__file__).resolve().parents[2]


def test_the_wheel_has_the_package_and_its_migrations_and_nothing_else() -> None:
    """Models, tests and benchmarks stay in the repository: a privileged daemon ships none."""
    included = [
        Path(file.distribution_path) for file in WheelBuilder(str(ROOT)).recurse_included_files()
    ]
    assert {path.parts[0] for path in included} == {"maxmemd"}
    folders = {path.parts[1] for path in included if len(path.parts) > 2}
    assert {"api", "policy", "migrations"} <= folders
    assert not {"races", "models", "tests", "benchmarks"} & folders
