"""Protocol rules as pure functions on frozen values: no I/O, no clock, no randomness."""
