-- When a person last proved anything in a running session, apart from when what its `acr` says was proved.

ALTER TABLE sessions ADD COLUMN confirmed_at BIGINT NOT NULL DEFAULT 0;
