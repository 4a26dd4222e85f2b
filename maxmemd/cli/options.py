"""Verbs and their options, parsed as xl's getopt_long parses them.

Options may follow arguments, `--` ends them, long options may be abbreviated if unambiguous, and
-h or an error ends the program at once. It is written by hand because the error texts must be xl's
to the byte, and because importing getopt would cost 1.3 ms of every call.
"""

from collections.abc import Callable


class Stop(Exception):
    """End the program with this exit status, after printing."""

    def __init__(self, status: int, *, out: str = "", err: str = "") -> None:
        super().__init__(status)
        self.status, self.out, self.err = status, out, err


Unknown = Callable[[str], Stop]


class Option:
    """An option; `value` names its argument, None for a flag."""

    __slots__ = ("long", "short", "text", "value")

    def __init__(self, long: str, text: str, *, short: str = "", value: str | None = None) -> None:
        self.long, self.text, self.short, self.value = long, text, short, value


class Command:
    """A verb with `least` to `most` arguments; where `most` is None, it counts them itself.

    `declined` maps xl's options that we lack to the reason.
    """

    __slots__ = (
        "declined",
        "does",
        "least",
        "like_xl",
        "most",
        "name",
        "options",
        "signed",
        "usage",
        "writes",
    )

    def __init__(
        self,
        name: str,
        usage: str,
        does: str,
        *,
        least: int = 0,
        most: int | None = 0,
        like_xl: bool = False,
        writes: bool = False,
        signed: bool = False,
        options: tuple[Option, ...] = (),
        declined: dict[str, str] | None = None,
    ) -> None:
        self.name, self.usage, self.does, self.least = name, usage, does, least
        self.most = None if most is None else max(least, most)
        self.like_xl, self.writes, self.signed = like_xl, writes, signed
        self.options, self.declined = options, declined or {}

    def help(self) -> str:
        """Return the help of this verb in xl's layout."""
        flags = "f" if self.writes else ""
        dry = "N" if self.writes else ""
        text = f"Usage: maxmemctl [-vtT{flags}{dry}] {self.name} {self.usage}\n\n{self.does}.\n\n"
        return text + "Options:\n\n" + "".join(_line(each) for each in self.options) + "\n"


HELP = Option("help", "Print this help.", short="h")
GLOBALS = (
    Option("help", "Print all verbs, options and examples.", short="h"),
    Option("version", "Print the version."),
    Option("socket", "The daemon's Unix socket.", value="PATH"),
    Option("url", "A daemon elsewhere: http://... or https://...", value="URL"),
    Option("token-file", "With --url: the file with the token.", value="FILE"),
    Option("cert", "With --url: a client certificate and its key.", value="FILE"),
    Option("cacert", "With --url: the CA of the daemon's certificate.", value="FILE"),
    Option("timeout", "How long to wait for a reply in all: 40 s.", value="SECONDS"),
    Option("json", "Print the API's JSON."),
    Option("dry-run", "Decide and print the result, but change nothing.", short="N"),
)


def _line(option: Option) -> str:
    long = f"--{option.long}" + (f" {option.value}" if option.value else "")
    left = f"-{option.short}, {long}" if option.short else long
    return f"{left:<24}{option.text}\n"


def options_text(options: tuple[Option, ...]) -> str:
    """Return one line of help per option."""
    return "".join(_line(each) for each in options)


def globals_of(argv: list[str]) -> tuple[dict[str, str], list[str]]:
    """Return the options before the verb, and the rest. An error there exits 1, as in xl."""
    given: dict[str, str] = {}
    rest = list(argv)
    while rest and rest[0].startswith("-") and rest[0] != "-":
        word = rest.pop(0)
        if word == "--":
            break
        if word.startswith("--"):
            _long(GLOBALS, word, rest, given, _unknown_global)
        else:
            ours = "".join(c for c in word if c not in "vtTf")  # accepted and ignored, as xl's
            _shorts(GLOBALS, ours, rest, given, _unknown_global)
    return given, rest


def words_of(verb: Command, argv: list[str]) -> tuple[dict[str, str], list[str]]:
    """Return a verb's options and arguments. Raises Stop for -h and for errors."""

    def unknown(option: str) -> Stop:
        why = f"maxmemctl: {verb.declined[option]}\n" if option in verb.declined else ""
        return Stop(2, err=f"{why}option `{option}' not supported.\n")

    options = (HELP, *verb.options)
    given: dict[str, str] = {}
    args: list[str] = []
    rest = list(argv)
    while rest and "help" not in given:
        word = rest.pop(0)
        if word == "--":
            args += rest
            break
        if word == "-" or not word.startswith("-") or (verb.signed and word[1:2].isdigit()):
            args.append(word)
        elif word.startswith("--"):
            _long(options, word, rest, given, unknown)
        else:
            _shorts(options, word, rest, given, unknown)

    if "help" in given:
        raise Stop(0, out=verb.help())
    if len(args) < verb.least:
        raise _miscounted(verb, f"requires at least {verb.least}", verb.least)
    if verb.most is not None and len(args) > verb.most:
        raise _miscounted(verb, f"takes at most {verb.most}", verb.most)
    return given, args


def _miscounted(verb: Command, what: str, count: int) -> Stop:
    """Return the refusal of too few arguments, in xl's words, or of too many."""
    who = "xl" if verb.like_xl else "maxmemctl"
    many = "" if count == 1 else "s"
    return Stop(2, err=f"'{who} {verb.name}' {what} argument{many}.\n\n", out=verb.help())


def _unknown_global(option: str) -> Stop:
    return Stop(1, err=f"maxmemctl: invalid option -- '{option}'\nunknown global option\n")


def _long(
    options: tuple[Option, ...],
    word: str,
    rest: list[str],
    given: dict[str, str],
    unknown: Unknown,
) -> None:
    name, equals, value = word[2:].partition("=")
    fits = [each for each in options if each.long.startswith(name)]
    exact = [each for each in fits if each.long == name]
    if len(exact or fits) != 1:
        raise unknown(name)
    _take((exact or fits)[0], [value] if equals else rest, given, unknown)


def _shorts(
    options: tuple[Option, ...],
    word: str,
    rest: list[str],
    given: dict[str, str],
    unknown: Unknown,
) -> None:
    for at, letter in enumerate(word[1:], 2):
        option = next((each for each in options if each.short == letter), None)
        if option is None:
            raise unknown(letter)
        if option.value:
            return _take(option, [word[at:]] if word[at:] else rest, given, unknown)
        given[option.long] = ""
        if letter == "h":
            return None
    return None


def _take(option: Option, values: list[str], given: dict[str, str], unknown: Unknown) -> None:
    if option.value is None:
        given[option.long] = ""
        return
    if not values:
        raise Stop(
            unknown(option.long).status,
            err=f"maxmemctl: option --{option.long} needs a value: {option.value}\n",
        )
    given[option.long] = values.pop(0)
