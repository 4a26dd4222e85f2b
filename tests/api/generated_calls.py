"""Call every operation by the client that was generated: `python generated_calls.py SOCKET`.

Runs where only the generator is installed. Prints each operation with its status and its model.
"""

import sys
import typing
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

import client.api.default as operations  # type: ignore[import-not-found]
import httpx
from client import Client

UNENDING = {"events"}
DOMAIN, COMPONENT = ("web",), ("web", "device-model", "roms")
BODIES: dict[str, dict[str, Any]] = {
    "set_limit": {"max_mem_kib": 700 * 1024}, "set_target": {"target_kib": 500 * 1024},
    "increase": {"by_kib": 256}, "set_component": {"amount_kib": 256}, "rollback": {"revision": 1},
    "set_drift": {"mode": "adopt", "for_s": 60}, "headroom": {"pages": 4},
    "build": {"target_kib": 512 * 1024, "life": "created"},
    "relayed_headroom": {"pages": 4, "stub_domid": 2, "uuid": "-"},
    "create_token": {"name": "x", "role": "observer"},
}  # fmt: skip
ORDER = ("create_token", "increase", "set_component")
"""What others need to be there."""
PLACES: dict[str, tuple[str, ...]] = dict.fromkeys(
    ("get_host", "get_domains", "health", "get_metrics", "list_tokens", "create_token"), ()
) | dict.fromkeys(("increase", "set_component", "remove_component"), COMPONENT)


def main(socket: str) -> None:
    """Call all of them, and each that reads a domain also with one that is not there."""
    http = httpx.Client(transport=httpx.HTTPTransport(uds=socket), base_url="http://localhost")
    asking = Client(base_url="http://localhost", raise_on_unexpected_status=True)
    asking.set_httpx_client(http)
    found = {module.name for module in iter_modules(operations.__path__)} - UNENDING
    record = call(asking, "get_record", DOMAIN)
    uuid = record.uuid
    for name in sorted(found, key=lambda name: (name not in ORDER, name)):
        place = PLACES.get(name, DOMAIN)
        if name == "put_record":
            call(asking, name, (uuid,), record.to_dict())
        elif name == "revoke_token":
            call(asking, name, ("x",))
        else:
            call(asking, name, place, BODIES.get(name))
            if place == DOMAIN:
                call(asking, name, ("nosuch",), BODIES.get(name))


def call(asking: Any, name: str, place: tuple[str, ...], body: dict[str, Any] | None = None) -> Any:
    """Call one operation; a reply that is not in the document raises, and so does None."""
    function = import_module(f"client.api.default.{name}").sync_detailed
    given = {}
    if body is not None:
        kinds = typing.get_type_hints(function)["body"]
        models = [kind for kind in (typing.get_args(kinds) or (kinds,)) if is_model(kind)]
        given["body"] = models[0].from_dict(body)
    reply = function(*place, client=asking, **given)
    if reply.parsed is None:
        raise TypeError(f"{name}: {reply.status_code}: {reply.content!r}")
    print(name, int(reply.status_code), type(reply.parsed).__name__)
    return reply.parsed


def is_model(kind: Any) -> bool:
    """Whether a type is one of the models."""
    return hasattr(kind, "from_dict")


if __name__ == "__main__":
    main(sys.argv[1])
