-- A grant keeps all of itself: the code that it began with, and its family of refresh tokens. Of a family there are the mark that its
-- tokens begin with, the newest of them, and the one before. Nothing is kept of those that came earlier: a token that begins with the mark and is neither of the two was used before. After `expires_at` nothing can come of a
-- grant or depend on it.
ALTER TABLE grants ADD COLUMN expires_at BIGINT NOT NULL DEFAULT 0;
ALTER TABLE grants ADD COLUMN code_digest BYTEA;
ALTER TABLE grants ADD COLUMN code_expires_at BIGINT;
ALTER TABLE grants ADD COLUMN code_used_at BIGINT;
ALTER TABLE grants ADD COLUMN request TEXT NOT NULL DEFAULT '';
ALTER TABLE grants ADD COLUMN family BYTEA;
ALTER TABLE grants ADD COLUMN refresh_digest BYTEA;
ALTER TABLE grants ADD COLUMN superseded_digest BYTEA;
CREATE INDEX grants_code ON grants (code_digest) WHERE code_digest IS NOT NULL;
CREATE INDEX grants_family ON grants (family) WHERE family IS NOT NULL;
CREATE INDEX grants_expiry ON grants (expires_at);

CREATE INDEX codes_grant ON codes (grant_id);
UPDATE grants SET
  code_digest = (SELECT digest FROM codes WHERE grant_id = grants.id),
  code_expires_at = (SELECT expires_at FROM codes WHERE grant_id = grants.id),
  code_used_at = (SELECT used_at FROM codes WHERE grant_id = grants.id),
  request = COALESCE((SELECT request FROM codes WHERE grant_id = grants.id), '');

-- The mark of tokens that were issued before is not known: the newest one of each family stands in for it until it is used.
-- Those before it are refused as unknown.
UPDATE grants SET
  family = (SELECT digest FROM refresh_tokens WHERE grant_id = grants.id AND generation = grants.generation),
  refresh_digest = (SELECT digest FROM refresh_tokens WHERE grant_id = grants.id AND generation = grants.generation),
  superseded_digest = (SELECT digest FROM refresh_tokens WHERE grant_id = grants.id AND generation = grants.generation - 1),
  expires_at = 172800 + COALESCE((SELECT MAX(expires_at) FROM refresh_tokens WHERE grant_id = grants.id), created_at);
DROP TABLE codes;
DROP TABLE refresh_tokens;
