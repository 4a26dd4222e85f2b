"""Doing what was decided: the only code that tells Xen and xenstore anything.

On a real Xen it runs in a process of its own (`process`), the only one that holds Xen's handle;
the arbiter reaches it through a socket (`remote`). On a simulated host the arbiter has it in its
own process (`direct`).
"""
