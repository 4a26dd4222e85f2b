"""`maxmemd relay`: what device models in stub domains ask by way of xenstore.

A process of its own: it holds no Xen handle and no SQL, decides nothing and remembers nothing. What
was asked and answered is in xenstore, what was granted in the ledger.
"""
