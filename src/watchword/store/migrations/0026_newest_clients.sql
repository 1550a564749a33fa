-- The console lists the newest clients first.
CREATE INDEX clients_created ON clients (created_at, client_id);
