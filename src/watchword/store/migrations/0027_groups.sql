-- The groups that a person belongs to, as a JSON array of names.
ALTER TABLE users ADD COLUMN groups TEXT NOT NULL DEFAULT '[]';
