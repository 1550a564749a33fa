-- What a device asks a person for in detail (RFC 9396).

ALTER TABLE device_codes ADD COLUMN authorization_details TEXT NOT NULL DEFAULT '[]';
