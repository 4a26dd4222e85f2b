"""Adapters to Xen, and a simulated host that obeys its laws."""
