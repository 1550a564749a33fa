-- Whose assertions become tokens here (RFC 7523), and which of our people an outside provider speaks of.

CREATE TABLE trust_rules (
  id TEXT PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  issuer TEXT NOT NULL,
  document TEXT NOT NULL,
  created_at BIGINT NOT NULL
);
CREATE INDEX trust_rules_issuer ON trust_rules (issuer);

CREATE TABLE asserted_people (
  issuer TEXT NOT NULL,
  subject TEXT NOT NULL,
  user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
  linked_at BIGINT NOT NULL,
  PRIMARY KEY (issuer, subject),
  UNIQUE (issuer, user_id)
);
CREATE INDEX asserted_people_user ON asserted_people (user_id);
