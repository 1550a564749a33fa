-- Of a name that is an address, what is before the @ counts letter by letter, and only the domain by its looks.
-- What is trimmed is every character that is not an @, from the end: so what is left ends with it.
UPDATE users SET skeleton = rtrim(canonical_username, replace(canonical_username, '@', ''))
  || substr(skeleton, length(rtrim(skeleton, replace(skeleton, '@', ''))) + 1)
WHERE canonical_username LIKE '%@%';
