"""Other issuers' assertions, and the exchange of tokens: who is trusted with what."""
