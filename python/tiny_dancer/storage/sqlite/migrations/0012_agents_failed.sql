-- Agents of the registry that a request was put to in vain; nothing for requests from before it was kept.
ALTER TABLE request ADD COLUMN agents_failed TEXT NOT NULL DEFAULT '[]';     -- a JSON list of names
