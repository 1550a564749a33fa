"""SQLite: the file, the writer thread with group commit, and reads on the event loop."""
