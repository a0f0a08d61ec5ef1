CREATE TABLE api_key (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    secret_hash TEXT NOT NULL UNIQUE,   -- SHA-256 in hexadecimal; the secret is nowhere
    created_at REAL NOT NULL,
    expires_at REAL,
    revoked_at REAL,
    models TEXT NOT NULL,               -- a JSON list of names; empty for all
    requests_per_minute INTEGER,
    tokens_per_minute INTEGER,
    daily_budget REAL,                  -- USD
    monthly_budget REAL,
    soft_budget INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Columns are the fields of tiny_dancer.types.RequestRecord, in their order.
CREATE TABLE request (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL,
    time REAL NOT NULL,
    endpoint TEXT NOT NULL,
    key TEXT NOT NULL,
    asked TEXT NOT NULL,
    status INTEGER NOT NULL,
    model TEXT NOT NULL,
    upstream TEXT NOT NULL,
    response_id TEXT,
    decision_id TEXT,
    router TEXT NOT NULL,
    routed_by TEXT NOT NULL,
    reason TEXT NOT NULL,
    level INTEGER NOT NULL,
    confidence REAL,
    scores TEXT,                        -- a JSON object of numbers
    role TEXT NOT NULL,
    session TEXT NOT NULL,
    stream INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    fallbacks INTEGER NOT NULL,
    input_tokens INTEGER NOT NULL CHECK (input_tokens BETWEEN 0 AND 1099511627776),
    output_tokens INTEGER NOT NULL CHECK (output_tokens BETWEEN 0 AND 1099511627776),
    cached_tokens INTEGER NOT NULL CHECK (cached_tokens BETWEEN 0 AND 1099511627776),
    cost REAL CHECK (cost >= 0 AND cost < 9e999),
    baseline_cost REAL CHECK (baseline_cost >= 0 AND baseline_cost < 9e999),
    latency REAL NOT NULL,
    ttft REAL,
    error TEXT NOT NULL,
    query_hash TEXT,
    query_text TEXT
) STRICT;
-- The only index. Rows come in the order of time, so it grows at its end; one over a random text such as response_id
-- would write a page for every row, which costs more than twice what storing the row does.
CREATE UNIQUE INDEX request_time ON request (time, id);

-- Finds requests by id, response_id and decision_id: CRC-32 of each, some 250 requests to a row. A search reads all of
-- it, about 15 ms a million requests, and then the requests of the rows that match.
CREATE TABLE request_ids (
    first INTEGER PRIMARY KEY,          -- the least number of its requests; they end where the next row begins
    hashes BLOB NOT NULL                -- 4 bytes each, little-endian
) STRICT;

-- What budgets are measured by: summed up as requests come in, and kept when they are removed.
CREATE TABLE spend (
    day INTEGER NOT NULL,               -- UTC, days since 1970
    key TEXT NOT NULL,
    cost REAL NOT NULL,                 -- USD
    tokens INTEGER NOT NULL,
    requests INTEGER NOT NULL,
    PRIMARY KEY (day, key)
) STRICT, WITHOUT ROWID;
