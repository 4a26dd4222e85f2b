"""maxmemd: the single arbiter of guest memory limits on a Xen host."""

__version__ = "0.1.0"
