-- Secrets that the server keeps for itself for as long as its data lives, sealed like private keys: by which pairwise subjects are
-- made, and by which nodes recognise each other's DPoP nonces. And the claims that a client asked for by name (OpenID Connect Core §5.5).

CREATE TABLE secrets (
  name TEXT PRIMARY KEY,
  sealed BYTEA NOT NULL,
  created_at BIGINT NOT NULL
);

ALTER TABLE grants ADD COLUMN wishes TEXT NOT NULL DEFAULT '';
