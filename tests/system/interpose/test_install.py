"""install.sh: what it puts where, what it leaves alone, and what the documents say."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.outside import Outside
from tests.support.process import ROOT
from tests.system.interpose.conftest import SOURCES, Built, max_kib


@pytest.fixture
def script(plain: Built, tmp_path: Path) -> Path:
    """Give the script beside a library that is built already, and no compiler's time is lost."""
    place = tmp_path / "interpose"
    shutil.copytree(SOURCES, place, ignore=shutil.ignore_patterns("*.so"))
    shutil.copy(plain.library, place)
    return place / "install.sh"


def run(
    script: Path, verb: str, root: Path, path: str = "/usr/sbin:/usr/bin:/sbin:/bin"
) -> subprocess.CompletedProcess[str]:
    """Run the script below another root."""
    environment = {"PATH": path, "DESTDIR": str(root)}
    argv = ["sh", str(script), verb]
    return subprocess.run(argv, env=environment, text=True, capture_output=True, check=False)


def files(root: Path) -> set[str]:
    """Return all files below a root."""
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


def test_install_and_remove(script: Path, tmp_path: Path) -> None:
    """One command each; twice is as once; the configuration stays, links to the socket do not."""
    root = tmp_path / "root"
    for _ in range(2):
        done = run(script, "install", root)
        assert (done.returncode, done.stderr) == (0, "")
    installed = files(root)
    assert "usr/local/lib/maxmemd/libmaxmem-interpose.so" in installed
    assert "etc/systemd/system/libvirtd.service.d/maxmemd-interpose.conf" in installed
    wrapper = root / "usr/local/sbin/xl"
    assert wrapper.stat().st_mode & 0o777 == 0o755
    subprocess.run(["sh", "-n", str(wrapper)], check=True)
    assert not [name for name in installed if name.endswith(".new")]

    (root / "etc/maxmemd/interpose.conf").write_text("when_away = direct\n")
    run(script, "install", root)
    locked_in = root / "run/xen/qemu-root-3"
    locked_in.mkdir(parents=True)
    (locked_in / "maxmemd.sock").write_text("")
    done = run(script, "remove", root)
    assert (done.returncode, done.stderr) == (0, "")
    assert files(root) == {"etc/maxmemd/interpose.conf"}
    locked_in.rmdir()  # as libxl does, and it has to be empty
    assert (root / "etc/maxmemd/interpose.conf").read_text() == "when_away = direct\n"


def test_a_wrapper_that_is_not_ours_is_left_alone(script: Path, tmp_path: Path) -> None:
    """It is neither overwritten nor removed."""
    wrapper = tmp_path / "root/usr/local/sbin/xl"
    wrapper.parent.mkdir(parents=True)
    wrapper.write_text("#!/bin/sh\n")
    done = run(script, "install", tmp_path / "root")
    assert done.returncode == 1
    assert "cannot install" in done.stderr
    assert run(script, "remove", tmp_path / "root").returncode == 0
    assert wrapper.read_text() == "#!/bin/sh\n"
    assert files(tmp_path / "root") == {"usr/local/sbin/xl"}


def test_without_a_compiler(script: Path, tmp_path: Path) -> None:
    """A library that was built elsewhere is enough; without one, there is a message."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ["sh", "dirname", "readlink", "grep", "install", "mv", "cat", "chmod", "mkdir"]:
        (programs / name).symlink_to(str(shutil.which(name)))
    done = run(script, "install", tmp_path / "root", path=str(programs))
    assert (done.returncode, done.stderr) == (0, "")
    assert "usr/local/lib/maxmemd/libmaxmem-interpose.so" in files(tmp_path / "root")
    (script.parent / "libmaxmem-interpose.so").unlink()
    done = run(script, "install", tmp_path / "other", path=str(programs))
    assert done.returncode == 1
    assert "cannot install: there is no make" in done.stderr
    assert not (tmp_path / "other").exists()


def test_usage(script: Path, tmp_path: Path) -> None:
    """Anything else is a mistake."""
    assert run(script, "", tmp_path).returncode == 2


def test_every_key_is_documented() -> None:
    """docs/interpose.md and the shipped file name each key of config.c."""
    keys = set(re.findall(r'strcmp\(key, "(\w+)"\)', (SOURCES / "config.c").read_text()))
    assert keys == {"socket", "device_model_socket", "when_away", "wait_ms", "busy_ms"}
    for key in keys:
        assert f"| `{key}` |" in (ROOT / "docs/interpose.md").read_text()
        assert f"#{key} = " in (SOURCES / "interpose.conf").read_text()


@pytest.mark.needs("libcurl4-openssl-dev")
def test_the_example_in_c(plain: Built, daemon: Outside, born: int, tmp_path: Path) -> None:
    """The page for authors of toolstacks has a function that compiles and announces a build."""
    page = (ROOT / "docs/toolstack-authors.md").read_text()
    function = re.findall(r"```c\n(.*?)```", page, re.DOTALL)[0]
    function = function.replace("/run/maxmemd/maxmemd.sock", str(daemon.socket))
    source = tmp_path / "example.c"
    main = f"int main(void) {{ return announce({born}, 131072) != 0; }}\n"
    source.write_text(f"#include <stdio.h>\n{function}\n{main}")
    program = tmp_path / "example"
    argv = ["gcc", "-Wall", "-Wextra", "-Werror", str(source), "-o", str(program), "-lcurl"]
    subprocess.run(argv, check=True)
    subprocess.run([str(program)], check=True)
    assert max_kib(daemon, born) == 129 * 1024


def test_the_example_in_python(daemon: Outside, born: int) -> None:
    """So does the other one."""
    page = (ROOT / "docs/toolstack-authors.md").read_text()
    program = re.findall(r"```python\n(.*?)```", page, re.DOTALL)[0]
    program = program.replace("Client()", f'Client("{daemon.socket}")')
    exec(program.replace('"7"', f'"{born}"'), {})
    assert max_kib(daemon, born) == 129 * 1024


@pytest.mark.parametrize("called", ["maxmemd-interpose", "install.sh"])
def test_it_is_called_what_it_was_started_as(tmp_path: Path, called: str) -> None:
    """The usage names the command that was typed: the package's is a link to the script."""
    link = tmp_path / called
    link.symlink_to(SOURCES / "install.sh")
    done = subprocess.run(["sh", str(link), "nothing"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, f"usage: {called} install | remove\n")
