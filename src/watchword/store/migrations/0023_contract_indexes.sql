-- Indexes that cost every write a page somewhere in the file and that nothing needs: an access token ends with its grant without being
-- touched, a session's grants are found among those of its person, and whoever checks the audit trail reads all of it.
DROP INDEX access_tokens_grant;
DROP INDEX grants_session;
DROP INDEX events_target;
