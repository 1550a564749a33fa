"""All SQL: operations named by intent, written once for SQLite and PostgreSQL, each in exactly one transaction.

Operations return outcomes and never raise protocol errors, because an exception would roll back the very revocation that
reuse detection must commit. The audit event of a change is written in the transaction of the change.
"""
