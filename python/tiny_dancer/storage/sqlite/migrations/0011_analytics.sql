-- Whether a certificate covers the answer: yes, or no and why; empty where there is no certificate, and for requests
-- from before it was kept.
ALTER TABLE request ADD COLUMN guarantee TEXT NOT NULL DEFAULT '';

-- What requests came to that retention has removed, summed up as they are. Only by what has few values, as its operator
-- sets them: by users or hours it would grow like the requests themselves. Sums are NULL, and so is what else is not
-- known, of requests that were removed before this was kept.
CREATE TABLE request_sums (
    number INTEGER PRIMARY KEY,
    day INTEGER NOT NULL,               -- UTC, days since 1970
    key TEXT NOT NULL,
    model TEXT,
    upstream TEXT,
    endpoint TEXT,
    router TEXT,
    routed_by TEXT,
    variant TEXT,
    role TEXT,
    status INTEGER,
    agent TEXT,
    route TEXT,
    team TEXT,
    project TEXT,
    first REAL NOT NULL,                -- UTC seconds of the earliest
    last REAL NOT NULL,                 -- and of the latest of them
    requests INTEGER NOT NULL,
    errors REAL,
    fallbacks REAL,
    attempts REAL,
    input_tokens REAL,
    output_tokens REAL,
    cached_tokens REAL,
    cost REAL,                          -- USD, of those that have a baseline too
    baseline_cost REAL,
    compared REAL,
    other_cost REAL,
    guessed REAL,
    guessed_cost REAL,
    unpriced REAL,
    uncosted REAL,
    latency REAL,                       -- seconds, of all of them together
    ttft REAL,
    timed REAL,
    confidence REAL,
    decided REAL,
    feedback REAL,
    score REAL,
    guarded REAL,
    UNIQUE (day, key, model, upstream, endpoint, router, routed_by, variant, role, status, agent, route, team, project)
) STRICT;
INSERT INTO request_sums (day, key, first, last, requests)
SELECT day, key, day * 86400, (day + 1) * 86400 - 0.001, spent - coalesce(stored, 0)
FROM (SELECT day, key, sum(requests) AS spent FROM spend GROUP BY day, key)
LEFT JOIN (
    SELECT CAST(time AS INTEGER) / 86400 AS day, key, count(*) AS stored FROM request GROUP BY 1, 2
) USING (day, key)
WHERE spent > coalesce(stored, 0);
