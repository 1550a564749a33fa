-- Rich authorization requests (RFC 9396): what a grant holds and what a person agreed to; and the optional scopes that a person
-- left out, so that they are not asked for at every sign-in.

ALTER TABLE grants ADD COLUMN authorization_details TEXT NOT NULL DEFAULT '[]';

ALTER TABLE consents ADD COLUMN authorization_details TEXT NOT NULL DEFAULT '[]';

ALTER TABLE consents ADD COLUMN declined TEXT NOT NULL DEFAULT '';
