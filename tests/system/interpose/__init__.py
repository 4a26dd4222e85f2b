"""The interposing library, without Xen: stub libraries of Xen's names, the real daemon."""
