-- Agents, and what came of their calls.
CREATE TABLE agent (
    name TEXT PRIMARY KEY,
    declared TEXT NOT NULL,             -- a JSON object of its fields
    state TEXT,                         -- sums over its outcomes, a JSON object of the engine's; NULL: no outcomes
    updated_at REAL NOT NULL            -- UTC seconds of the last declaration
) STRICT, WITHOUT ROWID;

-- How often the table above was written: who has seen the number has seen everything before.
CREATE TABLE agent_change (
    single INTEGER PRIMARY KEY CHECK (single = 1),
    changes INTEGER NOT NULL
) STRICT;
INSERT INTO agent_change VALUES (1, 0);
