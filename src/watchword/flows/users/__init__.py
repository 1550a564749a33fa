"""People's accounts: created, changed, recovered, imported, and managed by operators."""
