"""Clients and rules of trust as a file describes them, compared with what is there, and made so."""
