-- What people granted to clients: authorization requests under way, codes, grants with their refresh-token family, consents.

CREATE TABLE interactions (
  id TEXT PRIMARY KEY,
  browser BYTEA NOT NULL,
  client_id TEXT NOT NULL,
  request TEXT NOT NULL,
  done TEXT NOT NULL DEFAULT '[]',
  shown_to TEXT,
  expires_at BIGINT NOT NULL,
  used_at BIGINT
);
CREATE INDEX interactions_expiry ON interactions (expires_at);

CREATE TABLE grants (
  id TEXT PRIMARY KEY,
  client_id TEXT NOT NULL,
  user_id TEXT NOT NULL,
  session_id TEXT NOT NULL,
  scope TEXT NOT NULL,
  audience TEXT NOT NULL,
  claims TEXT NOT NULL,
  jkt TEXT,
  x5t TEXT,
  created_at BIGINT NOT NULL,
  ended_at BIGINT,
  generation BIGINT NOT NULL DEFAULT 0,
  started_at BIGINT NOT NULL,
  last_used_at BIGINT NOT NULL,
  rotated_at BIGINT
);
CREATE INDEX grants_user ON grants (user_id, client_id);
CREATE INDEX grants_client ON grants (client_id);
CREATE INDEX grants_session ON grants (session_id);

CREATE TABLE codes (
  digest BYTEA PRIMARY KEY,
  grant_id TEXT NOT NULL REFERENCES grants (id) ON DELETE CASCADE,
  request TEXT NOT NULL,
  expires_at BIGINT NOT NULL,
  used_at BIGINT
);
CREATE INDEX codes_expiry ON codes (expires_at);

CREATE TABLE refresh_tokens (
  digest BYTEA PRIMARY KEY,
  grant_id TEXT NOT NULL REFERENCES grants (id) ON DELETE CASCADE,
  generation BIGINT NOT NULL,
  sealed_successor BYTEA,
  expires_at BIGINT NOT NULL
);
CREATE INDEX refresh_tokens_expiry ON refresh_tokens (expires_at);
CREATE INDEX refresh_tokens_grant ON refresh_tokens (grant_id);

CREATE TABLE consents (
  user_id TEXT NOT NULL,
  client_id TEXT NOT NULL,
  audience TEXT NOT NULL,
  scope TEXT NOT NULL,
  granted_at BIGINT NOT NULL,
  PRIMARY KEY (user_id, client_id, audience)
);

CREATE TABLE pushed_requests (
  digest BYTEA PRIMARY KEY,
  client_id TEXT NOT NULL,
  request TEXT NOT NULL,
  expires_at BIGINT NOT NULL,
  used_at BIGINT
);
CREATE INDEX pushed_requests_expiry ON pushed_requests (expires_at);
