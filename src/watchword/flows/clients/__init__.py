"""Clients: their metadata and its rules, where they come from, and the keys and certificates that they prove themselves with."""
