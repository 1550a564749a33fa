-- A rotation looks for one token of its family, however many there were before it.

CREATE INDEX refresh_tokens_family ON refresh_tokens (grant_id, generation);
DROP INDEX refresh_tokens_grant;
