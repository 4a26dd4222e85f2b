"""Pure decisions on frozen values: no clock, no log, no I/O."""
