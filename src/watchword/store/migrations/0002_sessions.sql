-- A session is made after a person has been authenticated; its cookie is kept as SHA-256 only.

CREATE TABLE sessions (
  id TEXT PRIMARY KEY,
  digest BYTEA NOT NULL UNIQUE,
  user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
  created_at BIGINT NOT NULL,
  authenticated_at BIGINT NOT NULL,
  last_seen_at BIGINT NOT NULL,
  idle_expires_at BIGINT NOT NULL,
  expires_at BIGINT NOT NULL,
  remembered BIGINT NOT NULL DEFAULT 0,
  acr TEXT NOT NULL,
  amr TEXT NOT NULL,
  user_agent TEXT NOT NULL,
  address TEXT NOT NULL,
  ended_at BIGINT
);
CREATE INDEX sessions_user ON sessions (user_id, created_at);
CREATE INDEX sessions_expiry ON sessions (expires_at);
