"""The small REST client of maxmemctl and the relay: standard library only."""
