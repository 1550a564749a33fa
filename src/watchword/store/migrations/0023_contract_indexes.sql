-- Two indexes that cost every write a page somewhere in the file and that nothing needs: an access token ends with its grant without
-- being touched, and a session's grants are found among those of its person.
DROP INDEX access_tokens_grant;
DROP INDEX grants_session;
-- What purges and the question for administrators had to look at every row for.
CREATE INDEX api_tokens_revoked ON api_tokens (revoked_at) WHERE revoked_at IS NOT NULL;
CREATE INDEX api_token_secrets_expiry ON api_token_secrets (expires_at) WHERE expires_at IS NOT NULL;
CREATE INDEX users_admins ON users (id) WHERE is_admin = 1;
