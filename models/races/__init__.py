"""Models of who sets a domain's maximum, and an explorer of all their interleavings.

Pure: states are frozen values, a step is a function from one to the next. Amounts are KiB. No part
of the package maxmemd: these models are the argument for its design (docs/why-one-arbiter.md).
"""
