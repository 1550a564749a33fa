"""The console: the pages by which administrators run the service."""
