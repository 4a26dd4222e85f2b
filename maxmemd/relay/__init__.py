"""`maxmemd relay`: requests of device models in stub domains, through xenstore.

A process of its own, without a Xen handle and without SQL. It decides and stores nothing: requests
and replies are in xenstore, decisions in the ledger.
"""
