-- Times are Unix seconds unless a column says otherwise. JSON is kept as text. Secrets are kept as SHA-256 only.

CREATE TABLE facts (
  name TEXT PRIMARY KEY,
  value TEXT NOT NULL
);

INSERT INTO facts (name, value) VALUES ('changes', '0');

CREATE TABLE signing_keys (
  kid TEXT PRIMARY KEY,
  algorithm TEXT NOT NULL,
  public_jwk TEXT NOT NULL,
  sealed_private BYTEA NOT NULL,
  created_at BIGINT NOT NULL,
  -- NULL: published ahead of its first use.
  activates_at BIGINT,
  retires_at BIGINT,
  revoked_at BIGINT
);

CREATE TABLE users (
  id TEXT PRIMARY KEY,
  username TEXT NOT NULL,
  canonical_username TEXT NOT NULL UNIQUE,
  skeleton TEXT NOT NULL UNIQUE,
  email TEXT,
  canonical_email TEXT UNIQUE,
  email_verified_at BIGINT,
  display_name TEXT,
  attributes TEXT NOT NULL DEFAULT '{}',
  is_admin BIGINT NOT NULL DEFAULT 0,
  password_hash TEXT,
  password_changed_at BIGINT,
  created_at BIGINT NOT NULL,
  disabled_at BIGINT,
  -- Sessions and tokens issued before this moment are dead.
  valid_from BIGINT NOT NULL DEFAULT 0
);

CREATE TABLE clients (
  client_id TEXT PRIMARY KEY,
  document TEXT NOT NULL,
  name TEXT NOT NULL,
  owner TEXT,
  origin TEXT NOT NULL,
  created_at BIGINT NOT NULL,
  updated_at BIGINT NOT NULL,
  disabled_at BIGINT,
  last_used_at BIGINT,
  version BIGINT NOT NULL DEFAULT 1,
  -- Access tokens of this client issued before this moment are dead.
  valid_from BIGINT NOT NULL DEFAULT 0
);

CREATE TABLE client_secrets (
  digest BYTEA PRIMARY KEY,
  id TEXT NOT NULL UNIQUE,
  client_id TEXT NOT NULL REFERENCES clients (client_id) ON DELETE CASCADE,
  created_at BIGINT NOT NULL,
  expires_at BIGINT,
  last_used_at BIGINT,
  last_address TEXT
);
CREATE INDEX client_secrets_client ON client_secrets (client_id);

CREATE TABLE api_tokens (
  id TEXT PRIMARY KEY,
  name TEXT NOT NULL,
  owner_kind TEXT NOT NULL,
  owner_id TEXT NOT NULL,
  parent_id TEXT REFERENCES api_tokens (id) ON DELETE CASCADE,
  depth BIGINT NOT NULL DEFAULT 0,
  scope TEXT NOT NULL,
  resource TEXT NOT NULL,
  created_at BIGINT NOT NULL,
  created_by TEXT NOT NULL,
  expires_at BIGINT,
  revoked_at BIGINT,
  revoked_reason TEXT,
  addresses TEXT NOT NULL DEFAULT '[]',
  path TEXT,
  rate_limit BIGINT,
  quota BIGINT,
  jkt TEXT,
  metadata TEXT NOT NULL DEFAULT '{}',
  notified_at BIGINT
);
CREATE INDEX api_tokens_owner ON api_tokens (owner_id, id);
CREATE INDEX api_tokens_parent ON api_tokens (parent_id);
CREATE INDEX api_tokens_expiry ON api_tokens (expires_at);

CREATE TABLE api_token_secrets (
  digest BYTEA PRIMARY KEY,
  id TEXT NOT NULL UNIQUE,
  token_id TEXT NOT NULL REFERENCES api_tokens (id) ON DELETE CASCADE,
  hint TEXT NOT NULL,
  created_at BIGINT NOT NULL,
  expires_at BIGINT
);
CREATE INDEX api_token_secrets_token ON api_token_secrets (token_id);

-- Collected in memory and flushed: verification never writes synchronously.
CREATE TABLE token_usage (
  secret_id TEXT NOT NULL,
  token_id TEXT NOT NULL,
  outcome TEXT NOT NULL,
  count BIGINT NOT NULL,
  first_at BIGINT NOT NULL,
  last_at BIGINT NOT NULL,
  last_address TEXT NOT NULL,
  PRIMARY KEY (secret_id, outcome)
);
CREATE INDEX token_usage_token ON token_usage (token_id);

CREATE TABLE access_tokens (
  digest BYTEA PRIMARY KEY,
  client_id TEXT NOT NULL,
  subject TEXT NOT NULL,
  scope TEXT NOT NULL,
  audience TEXT NOT NULL,
  issued_at BIGINT NOT NULL,
  expires_at BIGINT NOT NULL,
  grant_id TEXT,
  claims TEXT NOT NULL DEFAULT '{}',
  revoked_at BIGINT
);
CREATE INDEX access_tokens_expiry ON access_tokens (expires_at);
CREATE INDEX access_tokens_grant ON access_tokens (grant_id) WHERE grant_id IS NOT NULL;

-- Self-contained tokens that were revoked before they expired.
CREATE TABLE revoked_tokens (
  jti TEXT PRIMARY KEY,
  expires_at BIGINT NOT NULL
);
CREATE INDEX revoked_tokens_expiry ON revoked_tokens (expires_at);

-- Single use of whatever carries an identifier of its own: assertions, proofs, challenges.
CREATE TABLE used_identifiers (
  digest BYTEA PRIMARY KEY,
  expires_at BIGINT NOT NULL
);
CREATE INDEX used_identifiers_expiry ON used_identifiers (expires_at);

-- One-time links: first owner, invitation, verification of an address, reset of a password.
CREATE TABLE one_time_links (
  digest BYTEA PRIMARY KEY,
  purpose TEXT NOT NULL,
  subject TEXT NOT NULL,
  data TEXT NOT NULL DEFAULT '{}',
  created_at BIGINT NOT NULL,
  expires_at BIGINT NOT NULL,
  used_at BIGINT
);
CREATE INDEX one_time_links_expiry ON one_time_links (expires_at);
CREATE UNIQUE INDEX one_time_links_live ON one_time_links (subject, purpose) WHERE used_at IS NULL;

CREATE TABLE buckets (
  name TEXT PRIMARY KEY,
  level DOUBLE PRECISION NOT NULL,
  updated_at DOUBLE PRECISION NOT NULL
);
CREATE INDEX buckets_updated ON buckets (updated_at);

CREATE TABLE events (
  chain TEXT NOT NULL,
  seq BIGINT NOT NULL,
  at BIGINT NOT NULL,
  name TEXT NOT NULL,
  actor TEXT NOT NULL,
  target TEXT NOT NULL,
  data TEXT NOT NULL,
  link TEXT NOT NULL,
  previous BYTEA NOT NULL,
  hash BYTEA NOT NULL,
  PRIMARY KEY (chain, seq)
);
CREATE INDEX events_at ON events (at, chain, seq);
CREATE INDEX events_target ON events (target, at);
