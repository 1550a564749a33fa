-- What ended before the tokens concerned expire, for those who verify tokens by themselves. `digest` says which, to who holds such
-- a token and to nobody else; tokens issued at `before` or later are not concerned. `number` is NULL until it is given out: numbers
-- are given in the order in which readers can see them, so that who knows everything up to one has missed nothing.

CREATE TABLE ended (
  digest BYTEA PRIMARY KEY,
  before BIGINT,
  expires_at BIGINT NOT NULL,
  number BIGINT
);
CREATE INDEX ended_number ON ended (number);
CREATE INDEX ended_unnumbered ON ended (expires_at) WHERE number IS NULL;
CREATE INDEX ended_expiry ON ended (expires_at);

-- Token status lists: each for tokens of one client, made by one process for an hour. `status_marks` says what the token at an index
-- depends on besides its client, in the digests of `ended`; tokens that depend on nothing else have no row until they are revoked.

CREATE TABLE status_lists (
  id TEXT PRIMARY KEY,
  client_id TEXT NOT NULL,
  created_at BIGINT NOT NULL,
  expires_at BIGINT NOT NULL
);
CREATE INDEX status_lists_expiry ON status_lists (expires_at);

CREATE TABLE status_marks (
  list_id TEXT NOT NULL,
  idx BIGINT NOT NULL,
  digest BYTEA NOT NULL,
  issued_at BIGINT NOT NULL,
  expires_at BIGINT NOT NULL,
  PRIMARY KEY (list_id, idx, digest)
);
CREATE INDEX status_marks_expiry ON status_marks (expires_at);
