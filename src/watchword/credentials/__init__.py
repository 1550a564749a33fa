"""Authenticating a person: the rules as pure functions. `store` keeps the data, `flows` decide when a rule applies."""
