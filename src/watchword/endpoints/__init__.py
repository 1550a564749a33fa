"""Endpoints: parse, call, answer; one file for each family."""
