"""The master key, which lives outside the database, and the root secret that it protects."""
