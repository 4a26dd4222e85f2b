"""The one thread that observes, decides, records and pushes."""
