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
