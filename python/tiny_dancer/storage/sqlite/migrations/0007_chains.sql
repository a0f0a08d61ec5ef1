-- Requests that wait for a person. Their state is said by these columns and the clock: nothing has to run for it.
CREATE TABLE queue (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    time REAL NOT NULL,                 -- UTC seconds when it was put there
    expires_at REAL NOT NULL,           -- from then on nobody can answer it
    context TEXT NOT NULL,              -- what a person reads: a JSON value
    said TEXT NOT NULL,                 -- what the user said last
    chain TEXT NOT NULL,
    key TEXT NOT NULL,                  -- id of the API key; empty without one
    hops TEXT NOT NULL,
    claimed_by TEXT,
    claimed_until REAL,
    answer TEXT,
    ended_by TEXT,
    ended_at REAL                       -- answered, or without an answer cancelled
) STRICT;
CREATE INDEX queue_open ON queue (expires_at) WHERE ended_at IS NULL;

-- Who a key belongs to, for routes that depend on it; and whether it may answer what waits for a person.
ALTER TABLE api_key ADD COLUMN tier TEXT;
ALTER TABLE api_key ADD COLUMN tags TEXT NOT NULL DEFAULT '[]';     -- a JSON list of texts
ALTER TABLE api_key ADD COLUMN operator INTEGER NOT NULL DEFAULT 0;

-- Every step of a chain that was asked, and why it passed on or chose; empty where no chain decided.
ALTER TABLE request ADD COLUMN hops TEXT NOT NULL DEFAULT '';
