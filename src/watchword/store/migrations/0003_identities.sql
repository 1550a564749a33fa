-- Zero-knowledge identities: public documents only; nothing here lets anybody sign in.

CREATE TABLE identities (
  id TEXT PRIMARY KEY,
  public_point BYTEA NOT NULL UNIQUE,
  owner_kind TEXT NOT NULL,
  owner_id TEXT NOT NULL,
  name TEXT NOT NULL,
  document TEXT NOT NULL,
  registered_at BIGINT NOT NULL,
  expires_at BIGINT NOT NULL,
  revoked_at BIGINT,
  last_used_at BIGINT
);
CREATE INDEX identities_owner ON identities (owner_id, registered_at);
