-- Device codes under way (RFC 8628). A user code is short: it is kept as an HMAC under a key outside the database.

CREATE TABLE device_codes (
  digest BYTEA PRIMARY KEY,
  user_code BYTEA NOT NULL UNIQUE,
  client_id TEXT NOT NULL,
  scope TEXT NOT NULL,
  audience TEXT NOT NULL,
  jkt TEXT,
  address TEXT NOT NULL,
  user_agent TEXT NOT NULL,
  created_at BIGINT NOT NULL,
  expires_at BIGINT NOT NULL,
  poll_interval BIGINT NOT NULL,
  last_polled_at BIGINT,
  status TEXT NOT NULL DEFAULT 'pending',
  -- The browser and the person that the code was shown to: nobody else decides.
  browser BYTEA,
  shown_to TEXT,
  grant_id TEXT
);
CREATE INDEX device_codes_expiry ON device_codes (expires_at);
CREATE INDEX device_codes_client ON device_codes (client_id);
