"""Signing in with other providers, and what links an account here to one there."""
