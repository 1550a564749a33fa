"""PostgreSQL: hosts, the pool, transactions with group commit, a standby for reads, and notifications between nodes."""
