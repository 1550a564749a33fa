-- Who is in a group is looked for among those who are in any, in the order of their identifiers or names.
CREATE INDEX users_in_groups ON users (id) WHERE groups <> '[]';
CREATE INDEX users_in_groups_name ON users (canonical_username, id) WHERE groups <> '[]';
