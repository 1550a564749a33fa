-- From which browser somebody signed in: whoever ends the session from elsewhere ends the trust in that browser as well.
-- How often something that proves who a person is was taken away or changed: what was proved before begins no session after.

ALTER TABLE sessions ADD COLUMN browser BYTEA;
ALTER TABLE users ADD COLUMN proof_epoch BIGINT NOT NULL DEFAULT 0;
