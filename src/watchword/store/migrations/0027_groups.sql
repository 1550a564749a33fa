-- The groups that a person belongs to, as a JSON array of names; nothing for none.
ALTER TABLE users ADD COLUMN groups TEXT;
