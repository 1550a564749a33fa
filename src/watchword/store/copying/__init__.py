"""Copying whole databases between SQLite, PostgreSQL and backup files, also while they change."""
