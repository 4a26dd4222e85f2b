"""Carry out what was decided: the only code that writes to Xen and xenstore.

On a real Xen it runs in a process of its own (`server`), the only one that holds Xen's handle; the
arbiter reaches it through a socket (`client`). With a simulated host the arbiter calls it in its
own process (`local`).
"""
