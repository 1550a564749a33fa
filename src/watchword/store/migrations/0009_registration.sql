-- Clients that nobody registered by hand: until when a metadata document counts as read (RFC 9111 freshness), and the digest of the
-- token by which a dynamically registered client manages itself (RFC 7592).

ALTER TABLE clients ADD COLUMN fresh_until BIGINT;

ALTER TABLE clients ADD COLUMN registration_digest BYTEA;

CREATE INDEX clients_origin ON clients (origin, created_at);

CREATE INDEX consents_client ON consents (client_id);
