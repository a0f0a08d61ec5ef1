ALTER TABLE candidate ADD COLUMN namespace TEXT NOT NULL DEFAULT '[]';     -- a JSON list of texts
ALTER TABLE candidate ADD COLUMN ttl_s REAL;                               -- seconds it lives after a write or a refresh
ALTER TABLE candidate ADD COLUMN expires_at REAL;                          -- UTC seconds; NULL: never
-- NULL in both: written by a program of an earlier version, which may still have the file open.
ALTER TABLE candidate ADD COLUMN updated_at REAL;                          -- UTC seconds of the last write; NULL: created_at
ALTER TABLE candidate ADD COLUMN content_change INTEGER;                   -- the change that wrote it, use aside; NULL: change
UPDATE candidate SET updated_at = created_at, content_change = change;
CREATE INDEX candidate_namespace ON candidate (namespace) WHERE namespace <> '[]';
CREATE INDEX candidate_expiry ON candidate (expires_at) WHERE expires_at IS NOT NULL;

-- What was done to candidates by whom. Accesses and feedback are no changes.
CREATE TABLE candidate_history (
    number INTEGER PRIMARY KEY,
    candidate_id TEXT NOT NULL,
    time REAL NOT NULL,                 -- UTC seconds
    action TEXT NOT NULL,               -- insert, update, delete, expire
    by TEXT,                            -- who, as the caller says
    before TEXT                         -- the candidate until then, without its embedding: a JSON object
) STRICT;
CREATE INDEX candidate_history_id ON candidate_history (candidate_id);
CREATE INDEX candidate_history_time ON candidate_history (time);
