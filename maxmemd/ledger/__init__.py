"""The SQLite database: every decision, the records they make, the instances and pushes.

The only package with SQL. One connection writes and checkpoints; every other is read-only, since
SQLite before 3.51.3 can corrupt a database whose WAL two connections reset.
"""
