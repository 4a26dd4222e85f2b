"""xl's tables and lookups: list, claims, info, domid, domname.

Formats and messages equal those of tools/xl/xl_info.c to the byte. On stderr, a line of ours with
the reason precedes xl's line.
"""

from maxmemd.cli.invocation import Invocation, print_refused, quoted
from maxmemd.cli.options import Stop
from maxmemd.cli.xl_domain import END_DOMID, invalid, reference
from maxmemd.rest.reply import Answer, Body
from maxmemd.rest.text import plain, print_error, print_lines


def list_domains(call: Invocation) -> int:
    """Print the table of domains, or of one."""
    if len(call.args) > 1:
        raise Stop(1, out=call.verb.help())
    if not call.args:
        return _table(call, verbose="verbose" in call.options)
    ref = reference(call.args[0])
    answer = call.read(f"domains/{quoted(ref)}")
    body = answer.body if answer.status == 200 else _dying(call, answer)
    if body is not None and call.wants_json:
        call.print_json(body)
        return 0
    if body is not None and body["xen"] is not None:
        verbose = "verbose" in call.options
        print(_header(verbose=verbose))
        print(_row(body, verbose=verbose))
        return 0
    if answer.status != 200:
        print_refused(call, answer, f"list {ref}", ref)
    else:
        print_error(f"cannot list {ref}: it has no instance here")
    text = f"Error: Domain '{ref}' does not exist.\n" if ref.isdigit() else invalid(ref)
    raise Stop(1, err=text)


def _dying(call: Invocation, answer: Answer) -> Body | None:
    """Return a domain that is refused because it is dying: xl lists it all the same."""
    if answer.code != "domain-gone" or answer.body.get("domid") is None:
        return None
    domains = call.read("domains").body.get("domains", ())
    return next((each for each in domains if each["domid"] == answer.body["domid"]), None)


def claims(call: Invocation) -> int:
    """Print the table of domains with what their builds have claimed."""
    return _table(call, claimed=True)


def _table(call: Invocation, *, verbose: bool = False, claimed: bool = False) -> int:
    domains = _domains(call, "list the domains")
    print(_header(verbose=verbose, claimed=claimed))
    for domain in domains:
        if domain["domid"] is not None and domain["xen"] is not None:
            print(_row(domain, verbose=verbose, claimed=claimed))
    for domain in domains if not claimed else ():
        _tell_what_is_wrong(domain)
    return 0


def _tell_what_is_wrong(domain: Body) -> None:
    """Print on stderr what xl's table has no column for."""
    called = domain["name"] or domain["uuid"]
    if domain.get("target_above_limit"):
        print_error(f"{called} has a target above its limit: maxmemctl explain {domain['domid']}")
    for each in domain.get("unreadable") or ():
        print_error(f"{called}: {each['node']} in xenstore is '{each['value']}', no amount")


def _domains(call: Invocation, what: str) -> list[Body]:
    answer = call.read("domains")
    if answer.status != 200:
        print_refused(call, answer, what, "")
        raise Stop(1, err="libxl_list_domain failed.\n")
    if call.wants_json and call.verb.name in ("list", "claims"):
        call.print_json(answer.body)
        raise Stop(0)
    found: list[Body] = answer.body["domains"]
    return found


def _header(*, verbose: bool = False, claimed: bool = False) -> str:
    text = "Name                                        ID   Mem VCPUs\tState\tTime(s)"
    text += "   UUID                            Reason-Code\tSecurity Label" if verbose else ""
    return text + ("  Claimed" if claimed else "")


def _row(domain: Body, *, verbose: bool = False, claimed: bool = False) -> str:
    xen = domain["xen"]
    name = "(null)" if xen["dying"] else plain(domain["name"] or "(null)")  # its nodes went first
    name += " " * (40 - len(name.encode("utf-8", "replace")))
    mem = (xen["tot_pages"] + xen["outstanding_pages"]) * 4 // 1024
    text = (
        f"{name} {domain['domid']:5d} {mem:5d} {xen['vcpus_online']:5d}"
        f"     {_state(xen)}  {_seconds(xen['cpu_time_ns']):8.1f}"
    )
    if verbose:
        reason = f"{xen['shutdown_reason']:8x}" if xen["shutdown"] else f"{'-':>8}"
        text += f" {domain['uuid']} {reason}"
    if claimed:
        text += f" {xen['outstanding_pages'] * 4 // 1024:5d}"
    return text + (f" {'-':>16}" if verbose else "")


def _state(xen: Body) -> str:
    flags = zip("rbps", ("running", "blocked", "paused", "shutdown"), strict=True)
    letters = "".join(letter if xen[flag] else "-" for letter, flag in flags)
    reason = xen["shutdown_reason"] if xen["shutdown"] else 0
    letters += "-rscwS"[reason] if 0 <= reason < 6 else "?"
    return letters + ("d" if xen["dying"] else "-")


def _seconds(cpu_time_ns: int) -> float:
    """Return seconds as xl computes them: through a C float (xl_info.c:list_domains)."""
    from struct import pack, unpack

    (single,) = unpack("f", pack("f", cpu_time_ns))
    return float(single) / 1e9


def info(call: Invocation) -> int:
    """Print the host's memory in MiB, or only the values of keys with this prefix."""
    answer = call.read("host")
    if answer.status != 200:
        print_refused(call, answer, "read the host's memory", "")
        print_lines("libxl_physinfo failed.\n")
        return 1
    host = answer.body
    if call.wants_json:
        call.print_json(host)
        return 0
    figures = {
        "total_memory": host["total_kib"],
        "free_memory": max(0, host["free_kib"] - host["outstanding_kib"]),
        "sharing_freed_memory": host["sharing_freed_kib"],
        "sharing_used_memory": host["sharing_used_kib"],
        "outstanding_claims": host["outstanding_kib"],
    }
    for name, kib in figures.items():
        line = f"{name:<23}: {kib // 1024}"
        if not call.args:
            print(line)
        elif line.startswith(call.args[0]):
            print(kib // 1024)
    return 0


def domid_of_name(call: Invocation) -> int:
    """Print the domid of a name; a number counts as a name here."""
    name = call.args[0]
    for domain in _domains(call, f"find the domain {name}"):
        is_here = domain["domid"] is not None and not (domain["xen"] or {}).get("dying")
        if domain["name"] == name and is_here:
            if call.wants_json:
                call.print_json(domain)
            else:
                print(domain["domid"])
            return 0
    print_lines(
        f"Can't get domid of domain name '{plain(name)}', maybe this domain does not exist.\n"
    )
    return 1


def name_of_domid(call: Invocation) -> int:
    """Print the name of a domid."""
    text = call.args[0]
    if not (text.isascii() and text.isdigit()) or int(text[:40]) >= END_DOMID:
        print_error(f"cannot read {text!r} as a domid")
        raise Stop(1, err="Invalid domain id.\n\n")
    answer = call.read(f"domains/{int(text)}")
    name = answer.body.get("name")
    if answer.status == 200 and name:
        if call.wants_json:
            call.print_json(answer.body)
        else:
            print(plain(name))
        return 0
    if answer.status not in (200, 404, 410):
        print_refused(call, answer, f"find domain {text}", text)
    print_lines(
        f"Can't get domain name of domain id '{int(text)}', maybe this domain does not exist.\n"
    )
    return 1


HANDLERS = {
    "list": list_domains,
    "info": info,
    "claims": claims,
    "domid": domid_of_name,
    "domname": name_of_domid,
}
