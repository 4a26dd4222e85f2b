"""The SQLite database: decisions, the records that follow from them, instances and pushes.

The only package with SQL. One connection writes and checkpoints; all others are read-only, because
SQLite before 3.51.3 can corrupt a database whose WAL is reset by two connections.
"""
