"""Whole databases: opened at the start, migrated, backed up, restored and moved."""
