"""Zero-knowledge identities: prove who you are without sharing a secret (specified in docs/zero.md).

A holder keeps a seed; everyone else sees a public point. This package owns identities, derivation, proofs, selective
disclosure, revocation, their files, an agent and the commands. The pure parts take clock and randomness as
arguments; single use of a challenge and throttling are the verifying server's task.
"""

from watchword.credentials.zkproof import ZeroError

__all__ = ["ZeroError"]
