-- The embeddings are in candidate_vectors, a vec0 table made when the first embedding, and with it the dimension, is
-- known. candidate.number is its rowid.
CREATE TABLE state (
    single INTEGER PRIMARY KEY CHECK (single = 1),
    epoch TEXT NOT NULL,                -- changes when everything does (restore)
    changes INTEGER NOT NULL,           -- counts writes to candidates; mirrors compare it before each search
    forgotten INTEGER NOT NULL,         -- deletions up to this change are no longer in candidate_deletion
    dimension INTEGER                   -- of the embeddings; NULL before the first
) STRICT;

CREATE TABLE candidate (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    text TEXT,
    created_at REAL NOT NULL,
    last_accessed_at REAL,
    access_count INTEGER NOT NULL,
    success_count REAL NOT NULL,
    trial_count INTEGER NOT NULL,
    confidence REAL,
    metadata TEXT NOT NULL,             -- a JSON object of texts
    session TEXT,                       -- the record's group, which is a word of SQL
    position INTEGER,
    embedding_change INTEGER,           -- the change that wrote its embedding; NULL without one
    change INTEGER NOT NULL             -- the last change to this row
) STRICT;
CREATE INDEX candidate_change ON candidate (change);
CREATE INDEX candidate_session ON candidate (session) WHERE session IS NOT NULL;

CREATE TABLE candidate_deletion (
    id TEXT PRIMARY KEY,
    change INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX candidate_deletion_change ON candidate_deletion (change);

CREATE TABLE routing (
    number INTEGER PRIMARY KEY,
    decision_id TEXT NOT NULL UNIQUE,
    time REAL NOT NULL,
    kind TEXT NOT NULL,
    chosen TEXT NOT NULL,
    artifact_version TEXT NOT NULL,
    query_hash TEXT,
    query_text TEXT,
    shown TEXT NOT NULL,                -- a JSON list of objects; features in base64
    confidence REAL,
    use_lightweight INTEGER NOT NULL,
    cost REAL,
    baseline_cost REAL,
    latency_us REAL,
    level INTEGER NOT NULL,
    reason TEXT NOT NULL
) STRICT;
CREATE INDEX routing_time ON routing (time);

CREATE TABLE outcome (
    number INTEGER PRIMARY KEY,
    decision_id TEXT NOT NULL,
    model TEXT NOT NULL,
    quality REAL NOT NULL,
    cost REAL,
    latency_s REAL,
    time REAL NOT NULL,
    UNIQUE (decision_id, model)
) STRICT;
CREATE INDEX outcome_time ON outcome (time);

CREATE TABLE feedback (
    number INTEGER PRIMARY KEY,
    decision_id TEXT NOT NULL,
    candidate_id TEXT NOT NULL,         -- empty for the decision as a whole
    score REAL NOT NULL,
    time REAL NOT NULL,
    text TEXT,
    UNIQUE (decision_id, candidate_id)
) STRICT;
CREATE INDEX feedback_time ON feedback (time);
