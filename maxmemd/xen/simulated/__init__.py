"""A simulated Xen host that obeys A1-A11, for demonstrations, tests and hosts without Xen."""

from maxmemd.xen.simulated.adapters import SimulatedHypervisor, SimulatedXenstore
from maxmemd.xen.simulated.config import Config, Image, Life, Step, finish
from maxmemd.xen.simulated.guests import Ceiling, Floor, Guest, Ideal, Intermittent, Stuck
from maxmemd.xen.simulated.host import SimulatedHost

__all__ = [
    "Ceiling",
    "Config",
    "Floor",
    "Guest",
    "Ideal",
    "Image",
    "Intermittent",
    "Life",
    "SimulatedHost",
    "SimulatedHypervisor",
    "SimulatedXenstore",
    "Step",
    "Stuck",
    "finish",
]
