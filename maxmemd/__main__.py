"""The command `maxmemd`: serve, check-config, migrate, verify, backup, relay.

Each verb imports what it needs: the relay stays small, and the daemon starts sooner.
"""

import argparse
import gc
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from maxmemd.rest.output import Printing, run_program
from maxmemd.rest.text import print_error

if TYPE_CHECKING:
    from maxmemd.config.file import ConfigFile
    from maxmemd.config.settings import Config

SOCKET, DATABASE = "/run/maxmemd/maxmemd.sock", "/var/lib/maxmemd/ledger.sqlite"
OWN = "; in /run/maxmemd-simulated on a simulated host"

EXAMPLES = """examples:
  maxmemd serve                              on a Xen dom0, as the service does
  maxmemd serve --hypervisor simulated --socket /tmp/m.sock --database /tmp/m.sqlite
  maxmemd check-config --config ./maxmemd.toml
  maxmemd migrate                            bring the database to this version's tables
  maxmemd verify                             check that every entry is as it was written
  maxmemd backup /var/backups/maxmemd.sqlite copy the database while the daemon runs
  maxmemd relay                              serve device models in stub domains
"""


def main(argv: list[str] | None = None) -> int:
    """Run one verb; return the exit status: 0, 1 for a failure, 2 for a configuration error."""
    words = sys.argv[1:] if argv is None else argv
    return run_program(lambda: _run(words), "maxmemd")


def _run(words: list[str]) -> int:
    if words[:1] == ["relay"]:
        from maxmemd.relay.main import main as relay

        return relay(words[1:])
    on_started = rest_collector() if words[:1] == ["serve"] else None
    with Printing():
        arguments = _parser(on_started).parse_args(words)

    from maxmemd.config.file import ConfigFile
    from maxmemd.errors import ConfigError, MaxmemError
    from maxmemd.systemd import start_logging

    start_logging()
    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.getLogger("uvicorn").setLevel(logging.ERROR)  # it logs a line for each bad request
    file = ConfigFile(arguments.config)
    try:
        more = [arguments.file] if "file" in arguments else []
        arguments.run(lambda: _configuration(arguments, file), *more)
    except MaxmemError as error:
        key = error.key if isinstance(error, ConfigError) else ""
        where = f" ({file.location_of(key)})" if key else ""
        print_error(f"{error}{where}", "maxmemd")
        return 2 if isinstance(error, ConfigError) else 1
    return 0


def rest_collector() -> Callable[[], None]:
    """Switch the cyclic collector off; return what switches it on, to be called after the start.

    Imports and start-up make many objects and next to no garbage: collecting meanwhile was a tenth
    of a start. What exists when the daemon has started stays until it ends, so it is taken out of
    the collector's sight, and the thresholds are high: walking it was most of the p99.
    """
    gc.disable()

    def on_started() -> None:
        gc.freeze()
        gc.enable()
        gc.set_threshold(50_000, 20, 1000)

    return on_started


def serve(read: "Callable[[], Config]", on_started: Callable[[], None] | None) -> None:
    """Run the daemon until SIGTERM or SIGINT. Raises MaxmemError when it cannot start."""
    from maxmemd import daemon

    daemon.serve(read, on_started)


def check_config(read: "Callable[[], Config]") -> None:
    """Print the configuration as the daemon would use it, as TOML. Raises ConfigError.

    Root becomes the ledger's owner first, so that a file the daemon may not read is found here.
    """
    from maxmemd.api.server.tcp import check_usable
    from maxmemd.config.toml import to_toml
    from maxmemd.ledger.lock import become_owner_of

    become_owner_of(read().database.parent)
    config = read()
    check_usable(config)
    with Printing():
        print(to_toml(config), end="")
        print(f"# drift of a domain, the first that means it: {config.drift_rules.explained}")


def migrate(read: "Callable[[], Config]") -> None:
    """Migrate the database. Raises LedgerError."""
    from maxmemd.ledger import migrate as migration
    from maxmemd.ledger.lock import become_owner_of, exclusive_lock

    config = read()
    become_owner_of(config.database.parent)
    with exclusive_lock(config.database):
        done = migration.migrate(config.database)
    with Printing():
        print(done)


def backup(read: "Callable[[], Config]", copy: Path) -> None:
    """Copy the ledger to a new file that only its owner can read. Raises LedgerError."""
    from maxmemd.files import need_folder
    from maxmemd.ledger.backup import backup as back_up

    database = read().database
    need_folder(copy, f"back {database} up to {copy}")
    back_up(database, copy)
    with Printing():
        print(f"{database} is backed up to {copy}")


def verify(read: "Callable[[], Config]") -> None:
    """Check every entry of the ledger, and print from where it is proved. Raises LedgerError."""
    from maxmemd.ledger.lock import become_owner_of
    from maxmemd.ledger.reader import LedgerReader

    database = read().database
    become_owner_of(database.parent)
    reader = LedgerReader(database)
    newest = reader.check()
    with Printing():
        print(f"{database}: all entries up to {newest} are as they were written, proved"
              f" {reader.anchor()}")  # fmt: skip


def _parser(on_started: Callable[[], None] | None) -> argparse.ArgumentParser:
    from maxmemd import __version__

    parser = argparse.ArgumentParser(
        prog="maxmemd",
        description="The single arbiter of guest memory limits on a Xen host.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"maxmemd {__version__}")
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    for name, run, text in (
        ("serve", lambda read: serve(read, on_started), "run the daemon in the foreground"),
        ("check-config", check_config, "check the configuration and print it"),
        ("migrate", migrate, "migrate the database, with a backup, while the daemon is down"),
        ("verify", verify, "check every entry of the history, while the daemon runs or not"),
        ("backup", backup, "copy the database to FILE, at any time"),
    ):
        verb = verbs.add_parser(name, help=text, description=text)
        # A migration is of the service's ledger also where this boot has no Xen
        verb.set_defaults(run=run, run_as_served=name in ("serve", "check-config"))
        verb.add_argument("--config", type=Path, help="default: /etc/maxmemd/maxmemd.toml if any")
        verb.add_argument("--hypervisor", choices=("auto", "xen", "simulated"))
        verb.add_argument("--socket", type=Path, help=f"default: {SOCKET}{OWN}")
        verb.add_argument("--database", type=Path, help=f"default: {DATABASE}{OWN}")
        if name == "backup":
            verb.add_argument("file", type=Path, metavar="FILE", help="a new file, mode 0600")
    verbs.add_parser("relay", help="serve device models in stub domains (maxmemd relay --help)")
    return parser


def _configuration(arguments: argparse.Namespace, file: "ConfigFile") -> "Config":
    """Return the file's configuration with what the command line says instead."""
    from maxmemd.config.host import SIMULATED_HOST, kind_of_host

    given = {name: getattr(arguments, name) for name in ("hypervisor", "socket", "database")}
    given = {name: value for name, value in given.items() if value is not None}
    file.read()
    config = file.config(given)
    if arguments.run_as_served and (
        kind_of_host(config.hypervisor, config.pusher) == SIMULATED_HOST
    ):
        return file.config({**given, "hypervisor": SIMULATED_HOST})
    return config


if __name__ == "__main__":
    sys.exit(main())
