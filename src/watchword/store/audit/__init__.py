"""The audit trail: the chain of events, reading and checking it, and what must agree with it."""
