-- Of a name that is an address, what is before the @ counts letter by letter, and only the domain by its looks.
-- What is trimmed is every character that is not an @, from the end: so what is left ends with it.
-- Of names that have one form only now, all but one keep what they are themselves.
-- A new form may be what another name had before: until all are new, they begin with a space, as no form does.
UPDATE users SET skeleton = ' ' || CASE WHEN place = 1 THEN form ELSE canonical_username END FROM (
  SELECT account, form, ROW_NUMBER() OVER (PARTITION BY form ORDER BY name <> form, created_at, account) AS place FROM (
    SELECT id AS account, canonical_username AS name, created_at, rtrim(canonical_username, replace(canonical_username, '@', ''))
      || substr(skeleton, length(rtrim(skeleton, replace(skeleton, '@', ''))) + 1) AS form
    FROM users WHERE canonical_username LIKE '%@%'
  ) AS made
) AS placed WHERE id = account;
UPDATE users SET skeleton = substr(skeleton, 2) WHERE skeleton LIKE ' %';
