"""Desired state: clients and trust rules as a file describes them, compared with the database, and applied."""
