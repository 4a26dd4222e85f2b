"""The small REST client, standard library only, that maxmemctl and the relay share."""
