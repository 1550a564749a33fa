"""Proving a person: rules as pure functions; the store keeps, the flows decide when."""
