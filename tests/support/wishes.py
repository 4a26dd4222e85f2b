"""A path and a valid body for each route."""

from maxmemd.api.routes import Route

BODIES = {
    "set_limit": {"max_mem_kib": 700 * 1024},
    "set_target": {"target_kib": 300 * 1024},
    "set_component": {"amount_kib": 256},
    "increase": {"by_kib": 256},
    "build": {"target_kib": 300 * 1024, "life": "created"},
    "headroom": {"pages": 64},
    "relayed_headroom": {
        "pages": 64,
        "uuid": "51a70000-0000-4000-8000-000000000001",
        "stub_domid": 7,
    },
    "rollback": {"revision": 1},
    "set_drift": {"mode": "alert", "for_s": 60},
    "create_token": {"name": "one", "role": "observer"},
    "put_record": {"components": [{"owner": "operator", "name": "max-mem", "amount_kib": 700000}]},
}
"""By the name of the route's handler."""


def path_of(route: Route) -> str:
    """Return a path that the route serves."""
    ref = "51a70000-0000-4000-8000-000000000001" if "records" in route.path else "web"
    return route.path.format(ref=ref, owner="device-model", name="roms")
