"""The table of verbs, with their arguments, options and help."""

from maxmemd.cli.options import GLOBALS, Command, Option, Stop, options_text

SIZE = "<MemMB['b'[bytes]|'k'[KB]|'m'[MB]|'g'[GB]|'t'[TB]]>"
JSON = Option("json", "Print the API's JSON.")
FORCE = Option("force", "Allow a max-mem below the balloon target.")
COMMIT = (
    Option("dry-run", "Decide and print the result, but change nothing."),
    Option("if-match", "Only if the domain's revision is still N.", value="N"),
    JSON,
)
WRITE = (Option("reason", "Why; kept in the history.", value="TEXT"), *COMMIT)

VERBS = (
    Command(
        "mem-max",
        f"<Domain> {SIZE}",
        "Set the maximum amount reservation for a domain",
        least=2,
        like_xl=True,
        writes=True,
        options=(FORCE, *WRITE),
    ),
    Command(
        "mem-set",
        f"<Domain> {SIZE}",
        "Set the current memory usage for a domain",
        least=2,
        like_xl=True,
        writes=True,
        options=WRITE,
    ),
    Command(
        "list",
        "[options] [Domain]",
        "List information about all/some domains",
        most=None,
        like_xl=True,
        options=(Option("verbose", "Prints out UUIDs and security context", short="v"), JSON),
        declined={
            "l": "cannot print build configurations: xl list -l has them; show and --json"
            " print what maxmemd knows",
            "Z": "cannot print security labels: maxmemd knows their numbers only (--json)",
            "c": "cannot print names of CPU pools: maxmemd knows their numbers only (--json)",
            "n": "cannot print NUMA affinity: maxmemd does not know it",
        },
    ),
    Command(
        "info",
        "[Key]",
        "Get information about Xen host",
        most=1,
        like_xl=True,
        options=(JSON,),
        declined={"n": "cannot print the NUMA topology: maxmemd does not know it"},
    ),
    Command(
        "claims",
        "",
        "List outstanding claim information about all domains",
        like_xl=True,
        options=(JSON,),
    ),
    Command(
        "domid",
        "<DomainName>",
        "Convert a domain name to domain id",
        least=1,
        like_xl=True,
        options=(JSON,),
    ),
    Command(
        "domname",
        "<DomainId>",
        "Convert a domain id to domain name",
        least=1,
        like_xl=True,
        options=(JSON,),
    ),
    Command(
        "show", "<Domain>", "Show all that maxmemd knows about a domain", least=1, options=(JSON,)
    ),
    Command(
        "explain",
        "<Domain>",
        "Explain the limit of a domain",
        least=1,
        options=(JSON,),
    ),
    Command(
        "history",
        "<Domain>",
        "List the decisions about a domain, newest first",
        least=1,
        options=(Option("number", "At most N lines; 20 without it.", short="n", value="N"), JSON),
    ),
    Command(
        "watch",
        "[Domain]",
        "Print events as they happen, of all domains or of one",
        most=1,
        options=(
            Option("since", "Begin after this event; 0 is the beginning.", value="ID"),
            Option(
                "kind",
                "Only these kinds, comma-separated: decision, refused, drift, ...",
                value="KINDS",
            ),
            Option("json", "Print one JSON object a line, as the API has it."),
        ),
    ),
    Command(
        "rollback",
        "<Domain> <Revision>",
        "Restore an earlier revision",
        least=2,
        writes=True,
        options=(FORCE, *WRITE),
    ),
    Command(
        "drift",
        "<Domain> [restore|adopt|alert|default]",
        "Show or set what becomes of a maximum that another program writes",
        least=1,
        most=2,
        writes=True,
        options=(
            Option("for", "Only for so long: 90s, 30m, 1h, 2d.", value="TIME"),
            *WRITE,
        ),
    ),
    Command(
        "components",
        "<Domain>",
        "List the amounts that make up the limit of a domain",
        least=1,
        options=(JSON,),
    ),
    Command(
        "component-set",
        f"<Domain> <Owner>/<Name> {SIZE}",
        "Set one component of a limit",
        least=3,
        writes=True,
        options=WRITE,
    ),
    Command(
        "component-increase",
        f"<Domain> <Owner>/<Name> [+|-]{SIZE}",
        "Add to one component of a limit, or subtract from it",
        least=3,
        writes=True,
        signed=True,
        options=WRITE,
    ),
    Command(
        "component-remove",
        "<Domain> <Owner>/<Name>",
        "Remove one component of a limit",
        least=2,
        writes=True,
        options=COMMIT,
    ),
    Command(
        "token",
        "create <Name> <Role> | list | revoke <Name>",
        "Create, list and revoke tokens of TCP clients; only create prints the token",
        least=1,
        most=None,
        options=(
            JSON,
            Option("days", "With create: the token expires after DAYS.", value="DAYS"),
            Option("output", "With create: write it to a new file, mode 0600.", value="FILE"),
        ),
    ),
    Command(
        "health",
        "",
        "Print the health of each part of maxmemd; exit status 1 if one is not ready",
        options=(JSON,),
    ),
    Command(
        "doctor",
        "",
        "Find programs that bypass maxmemd, and limits they changed; exit status 1 if any",
        options=(JSON,),
    ),
)

NOTES = """
<Domain> is a domid, a UUID or a name. A bare number is MiB; b, k, m, g and t are units.
MAXMEM_SOCKET names the daemon's socket; the default is /run/maxmemd/maxmemd.sock.

Exit status: 0 done; 1 refused, recorded but not in force, or no daemon; 2 wrong usage (1 where
xl has 1: no verb or an unknown one, an unknown option before it, a size that cannot be read).

Examples:

 maxmemctl mem-max web 2g                            web may use 2 GiB at most
 maxmemctl mem-set web 1536                          balloon it to 1536 MiB
 maxmemctl mem-max --dry-run web 512                 what would happen
 maxmemctl explain web                               why its limit is what it is
 maxmemctl history -n 5 web                          the last five decisions
 maxmemctl watch --since 0 web                       all events of web, past and new
 maxmemctl drift web adopt --for 1h                  let another program set its maximum
 maxmemctl rollback web 7 --reason 'load test over'  as it was at revision 7
 maxmemctl component-increase web device-model/roms 256k
 maxmemctl --json list                               for programs

maxmemctl help VERB prints the options of a verb.
"""


def find(word: str) -> Command | None:
    """Return the verb of this name or unambiguous prefix; xl's verbs come before ours."""
    for like_xl in (True, False):
        fits = [verb for verb in VERBS if verb.like_xl is like_xl and verb.name.startswith(word)]
        exact = [verb for verb in fits if verb.name == word]
        if len(exact or fits) == 1:
            return (exact or fits)[0]
    return None


def help_on(words: list[str]) -> Stop:
    """Return the end of `maxmemctl help`: of all verbs, or of the one that is named."""
    if not words:
        return Stop(0, out=overview())
    if len(words) > 1:
        return Stop(2, err="'maxmemctl help' takes at most 1 argument.\n\n", out=overview())
    verb = find(words[0])
    if verb is None:
        return Stop(2, err=f'command "{words[0]}" not implemented\n')
    return Stop(0, out=verb.help())


def overview() -> str:
    """Return the help of maxmemctl."""
    rows = {True: "", False: ""}
    for verb in VERBS:
        rows[verb.like_xl] += f" {verb.name:<19} {verb.does}\n"
    return (
        "Usage: maxmemctl [-vtTfN] [--json] [--socket PATH | --url URL] VERB [ARGUMENTS]\n\n"
        "Query and change guest memory limits through maxmemd.\n\n"
        f"As in xl:\n\n{rows[True]}\nOur own:\n\n{rows[False]}\n"
        f"Options before the verb:\n\n{options_text(GLOBALS)}"
        f"{'-v, -t, -T, -f':<24}Accepted for compatibility with xl; no effect.\n{NOTES}"
    )
