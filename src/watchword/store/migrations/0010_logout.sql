-- Who is told when a session ends: the clients that got an ID token of it, what is on its way to them, and the session at another
-- provider that a session came from.

CREATE TABLE session_clients (
  session_id TEXT NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
  client_id TEXT NOT NULL,
  since BIGINT NOT NULL,
  PRIMARY KEY (session_id, client_id)
);
CREATE INDEX session_clients_client ON session_clients (client_id);

INSERT INTO session_clients (session_id, client_id, since)
SELECT s.id, g.client_id, MIN(g.created_at) FROM grants g JOIN sessions s ON s.id = g.session_id
WHERE s.ended_at IS NULL AND ' ' || g.scope || ' ' LIKE '% openid %' GROUP BY s.id, g.client_id;

-- One row for a client that is still to be told; the token itself is made when it is sent.
CREATE TABLE logout_notices (
  session_id TEXT NOT NULL,
  client_id TEXT NOT NULL,
  user_id TEXT NOT NULL,
  created_at BIGINT NOT NULL,
  next_at BIGINT NOT NULL,
  attempts BIGINT NOT NULL DEFAULT 0,
  expires_at BIGINT NOT NULL,
  PRIMARY KEY (session_id, client_id)
);
CREATE INDEX logout_notices_due ON logout_notices (next_at);
CREATE INDEX logout_notices_expiry ON logout_notices (expires_at);
CREATE INDEX logout_notices_client ON logout_notices (client_id, next_at);

CREATE TABLE upstream_sessions (
  session_id TEXT NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
  issuer TEXT NOT NULL,
  subject TEXT NOT NULL,
  sid TEXT,
  PRIMARY KEY (session_id, issuer)
);
CREATE INDEX upstream_sessions_subject ON upstream_sessions (issuer, subject);
CREATE INDEX upstream_sessions_sid ON upstream_sessions (issuer, sid) WHERE sid IS NOT NULL;

-- A session that has run out is ended like any other: its idle end is never after its absolute one, so that one index finds it.
UPDATE sessions SET idle_expires_at = expires_at WHERE idle_expires_at > expires_at;
CREATE INDEX sessions_idle ON sessions (idle_expires_at) WHERE ended_at IS NULL;
