"""Adapters to Xen and xenstore, and a simulated host that behaves like them."""
