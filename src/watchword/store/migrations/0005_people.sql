-- How people prove who they are besides a password, the devices they were seen on, and the mail that is on its way.

CREATE TABLE passkeys (
  id TEXT PRIMARY KEY,
  credential_id BYTEA NOT NULL UNIQUE,
  user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
  user_handle BYTEA NOT NULL,
  public_key BYTEA NOT NULL,
  sign_count BIGINT NOT NULL,
  backup_eligible BIGINT NOT NULL,
  backed_up BIGINT NOT NULL,
  user_verified BIGINT NOT NULL,
  transports TEXT NOT NULL,
  aaguid TEXT NOT NULL,
  name TEXT NOT NULL,
  created_at BIGINT NOT NULL,
  last_used_at BIGINT
);
CREATE INDEX passkeys_user ON passkeys (user_id, created_at);

-- The key is sealed under the master key: whoever reads the database makes no codes of it.
CREATE TABLE totp_keys (
  user_id TEXT PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE,
  sealed_key BYTEA NOT NULL,
  created_at BIGINT NOT NULL,
  last_step BIGINT NOT NULL,
  last_used_at BIGINT
);

CREATE TABLE recovery_codes (
  digest BYTEA PRIMARY KEY,
  user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
  created_at BIGINT NOT NULL,
  used_at BIGINT
);
CREATE INDEX recovery_codes_user ON recovery_codes (user_id);

-- One live code for each person and purpose; the digest is keyed.
CREATE TABLE email_codes (
  user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
  purpose TEXT NOT NULL,
  digest BYTEA NOT NULL,
  expires_at BIGINT NOT NULL,
  attempts BIGINT NOT NULL DEFAULT 0,
  used_at BIGINT,
  PRIMARY KEY (user_id, purpose)
);
CREATE INDEX email_codes_expiry ON email_codes (expires_at);

ALTER TABLE users ADD COLUMN email_code_on BIGINT NOT NULL DEFAULT 0;

-- The browsers that a person was seen with, by digest; `trusted_until` spares the second factor.
CREATE TABLE browsers (
  user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
  browser BYTEA NOT NULL,
  first_seen_at BIGINT NOT NULL,
  last_seen_at BIGINT NOT NULL,
  trusted_until BIGINT,
  PRIMARY KEY (user_id, browser)
);
CREATE INDEX browsers_seen ON browsers (last_seen_at);

-- Accounts elsewhere that sign somebody in here: found by issuer and subject, never by an address.
CREATE TABLE upstream_accounts (
  issuer TEXT NOT NULL,
  subject TEXT NOT NULL,
  user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
  name TEXT NOT NULL,
  linked_at BIGINT NOT NULL,
  last_used_at BIGINT,
  PRIMARY KEY (issuer, subject)
);
CREATE INDEX upstream_accounts_user ON upstream_accounts (user_id);

-- Mail on its way: address, template and context sealed, because a mail may hold a one-time link.
CREATE TABLE outbox (
  id TEXT PRIMARY KEY,
  sealed BYTEA NOT NULL,
  created_at BIGINT NOT NULL,
  next_at BIGINT NOT NULL,
  attempts BIGINT NOT NULL DEFAULT 0,
  expires_at BIGINT NOT NULL,
  delivered_at BIGINT
);
CREATE INDEX outbox_due ON outbox (next_at);
CREATE INDEX outbox_expiry ON outbox (expires_at);
