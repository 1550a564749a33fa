-- How names and identifiers begin, whatever their case. People are found by the indexes that keep their names and addresses unique.
CREATE INDEX api_tokens_name ON api_tokens (lower(name), id);
CREATE INDEX clients_name ON clients (lower(name), client_id);
CREATE INDEX clients_identifier ON clients (lower(client_id), client_id);
-- The few that are switched off or revoked, among all the others.
CREATE INDEX users_disabled ON users (canonical_username, id) WHERE disabled_at IS NOT NULL;
CREATE INDEX users_disabled_address ON users (canonical_email, id) WHERE disabled_at IS NOT NULL;
CREATE INDEX api_tokens_ended ON api_tokens (id) WHERE revoked_at IS NOT NULL;
