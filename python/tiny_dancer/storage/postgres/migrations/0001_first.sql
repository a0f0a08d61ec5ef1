-- All tables as of the first version, for PostgreSQL 14 and newer with encoding UTF8. Runs in one transaction, in a
-- database that has a schema tiny_dancer without tables: made by the storage, or by the extension tiny_dancer, whose
-- install script this is a part of.
--
-- Times are UTC seconds since 1970 in double precision, which is what programs give and get back, to the last bit;
-- to_timestamp(time) shows them. Money is USD, in the ledger of budgets whole units of 10^-12 USD. What is JSON is
-- json and not jsonb: it comes back as it was written. Texts that rows are found or ordered by are compared byte by
-- byte (collation C), as programs do.

-- Which scripts were applied. A name that a program does not know was written by a newer one.
CREATE TABLE tiny_dancer.migration (
    name text COLLATE "C" PRIMARY KEY,
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
INSERT INTO tiny_dancer.migration (name) VALUES ('0001_first');

CREATE TABLE tiny_dancer.state (
    single boolean PRIMARY KEY DEFAULT true CHECK (single),
    epoch text NOT NULL,                    -- changes when everything does (restore)
    changes bigint NOT NULL,                -- counts writes to candidates; mirrors compare it before each search
    forgotten bigint NOT NULL,              -- deletions up to this change are no longer in candidate_deletion
    dimension integer                       -- of the embeddings; NULL before the first
) WITH (fillfactor = 20);
INSERT INTO tiny_dancer.state (epoch, changes, forgotten) VALUES (gen_random_uuid()::text, 0, 0);

CREATE TABLE tiny_dancer.candidate (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id text COLLATE "C" NOT NULL UNIQUE CHECK (id <> ''),
    text text,
    created_at double precision NOT NULL DEFAULT extract(epoch FROM clock_timestamp()),
    last_accessed_at double precision,
    access_count bigint NOT NULL DEFAULT 0 CHECK (access_count >= 0),
    success_count double precision NOT NULL DEFAULT 0 CHECK (success_count >= 0),
    trial_count bigint NOT NULL DEFAULT 0 CHECK (trial_count >= 0),
    confidence double precision CHECK (confidence BETWEEN 0 AND 1),
    metadata json NOT NULL DEFAULT '{}' CHECK (json_typeof(metadata) = 'object'),
    session text COLLATE "C",               -- the record's group, which is a word of SQL
    position bigint CHECK (position >= 0),
    namespace text[] COLLATE "C" NOT NULL DEFAULT '{}',
    ttl_s double precision CHECK (ttl_s >= 0),  -- seconds it lives after a write or a refresh
    expires_at double precision,            -- NULL: never
    updated_at double precision NOT NULL DEFAULT extract(epoch FROM clock_timestamp()),
    embedding real[] CHECK (
        cardinality(embedding) > 0 AND array_ndims(embedding) = 1 AND array_position(embedding, NULL) IS NULL
        AND 'NaN' <> ALL (embedding) AND 'Infinity' <> ALL (embedding) AND '-Infinity' <> ALL (embedding)
    ),
    -- Set by triggers, whoever writes.
    content_change bigint NOT NULL DEFAULT 0,   -- the last change to what it says
    change bigint NOT NULL DEFAULT 0            -- the last change, also to what is counted of it
);
CREATE INDEX candidate_change ON tiny_dancer.candidate (change);
CREATE INDEX candidate_expiry ON tiny_dancer.candidate (expires_at) WHERE expires_at IS NOT NULL;

CREATE TABLE tiny_dancer.candidate_deletion (
    id text COLLATE "C" PRIMARY KEY,
    change bigint NOT NULL
);
CREATE INDEX candidate_deletion_change ON tiny_dancer.candidate_deletion (change);

-- What was done to candidates by whom. Accesses and feedback are no changes. The functions that write candidates
-- write it; who writes the table itself may.
CREATE TABLE tiny_dancer.candidate_history (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    candidate_id text COLLATE "C" NOT NULL,
    time double precision NOT NULL,
    action text NOT NULL CHECK (action IN ('insert', 'update', 'delete', 'expire')),
    by text,                                -- who, as the caller says
    before json                             -- the candidate until then, without its embedding
);
CREATE INDEX candidate_history_id ON tiny_dancer.candidate_history USING hash (candidate_id);
CREATE INDEX candidate_history_time ON tiny_dancer.candidate_history (time);

CREATE TABLE tiny_dancer.routing (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    decision_id text COLLATE "C" NOT NULL UNIQUE,
    time double precision NOT NULL,
    kind text NOT NULL CHECK (kind IN ('request', 'candidates', 'tools')),
    chosen text NOT NULL,
    artifact_version text NOT NULL DEFAULT '',
    query_hash text,
    query_text text,
    shown json NOT NULL DEFAULT '[]',       -- a list of objects; features in base64
    confidence double precision,
    use_lightweight boolean NOT NULL DEFAULT false,
    cost double precision,
    baseline_cost double precision,
    latency_us double precision,
    level bigint NOT NULL DEFAULT 0,
    reason text NOT NULL DEFAULT ''
);
CREATE INDEX routing_time ON tiny_dancer.routing (time, number);

CREATE TABLE tiny_dancer.outcome (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    decision_id text COLLATE "C" NOT NULL,
    model text COLLATE "C" NOT NULL,
    quality double precision NOT NULL,
    cost double precision,
    latency_s double precision,
    time double precision NOT NULL,
    UNIQUE (decision_id, model)
);
CREATE INDEX outcome_time ON tiny_dancer.outcome (time, number);

CREATE TABLE tiny_dancer.feedback (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    decision_id text COLLATE "C" NOT NULL,
    candidate_id text COLLATE "C" NOT NULL, -- empty for the decision as a whole
    score double precision NOT NULL CHECK (score BETWEEN 0 AND 1),
    time double precision NOT NULL,
    text text,
    UNIQUE (decision_id, candidate_id)
);
CREATE INDEX feedback_time ON tiny_dancer.feedback (time, number);

CREATE TABLE tiny_dancer.api_key (
    id text COLLATE "C" PRIMARY KEY,
    name text NOT NULL,
    secret_hash text NOT NULL UNIQUE,       -- SHA-256 in hexadecimal; the secret is nowhere
    created_at double precision NOT NULL,
    expires_at double precision,
    revoked_at double precision,
    models text[] NOT NULL,                 -- empty for all
    requests_per_minute bigint,
    tokens_per_minute bigint,
    daily_budget double precision,          -- USD
    monthly_budget double precision,
    cheaper_when_spent boolean NOT NULL,
    max_budget double precision,
    budget_duration text,                   -- 30d, 1mo; NULL: for ever
    soft_budget double precision,
    model_max_budget json NOT NULL,         -- a list of budgets
    tier text,
    tags text[] NOT NULL,
    operator boolean NOT NULL,
    "user" text,
    team text,
    project text
);

-- Columns are the fields of tiny_dancer.types.RequestRecord.
CREATE TABLE tiny_dancer.request (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id text COLLATE "C" NOT NULL,
    time double precision NOT NULL,
    endpoint text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    asked text COLLATE "C" NOT NULL,
    status bigint NOT NULL,
    model text COLLATE "C" NOT NULL,
    upstream text COLLATE "C" NOT NULL,
    response_id text COLLATE "C",
    decision_id text COLLATE "C",
    router text COLLATE "C" NOT NULL,
    routed_by text COLLATE "C" NOT NULL,
    reason text NOT NULL,
    level bigint NOT NULL,
    confidence double precision,
    scores json,                            -- an object of numbers
    role text COLLATE "C" NOT NULL,
    session text NOT NULL,
    stream boolean NOT NULL,
    attempts bigint NOT NULL,
    fallbacks bigint NOT NULL,
    input_tokens bigint NOT NULL CHECK (input_tokens BETWEEN 0 AND 1099511627776),
    output_tokens bigint NOT NULL CHECK (output_tokens BETWEEN 0 AND 1099511627776),
    cached_tokens bigint NOT NULL CHECK (cached_tokens BETWEEN 0 AND 1099511627776),
    cost double precision CHECK (cost >= 0 AND cost < 'Infinity'),
    baseline_cost double precision CHECK (baseline_cost >= 0 AND baseline_cost < 'Infinity'),
    latency double precision NOT NULL,
    ttft double precision,
    error text COLLATE "C" NOT NULL,
    query_hash text,
    query_text text,
    artifact_version text NOT NULL,
    variant text COLLATE "C" NOT NULL,
    guessed boolean NOT NULL,
    guessed_cost double precision NOT NULL CHECK (guessed_cost >= 0 AND guessed_cost < 'Infinity'),
    tool_selection text NOT NULL,
    tools_before bigint NOT NULL,
    tools_sent bigint NOT NULL,
    tool_tokens_saved bigint NOT NULL,
    tool_searches bigint NOT NULL,
    hops text NOT NULL,
    "user" text COLLATE "C" NOT NULL,
    team text COLLATE "C" NOT NULL,
    project text COLLATE "C" NOT NULL,
    tags text[] COLLATE "C" NOT NULL,
    agent text COLLATE "C" NOT NULL,
    route text COLLATE "C" NOT NULL,
    guarantee text COLLATE "C" NOT NULL,
    agents_failed text[] NOT NULL,
    removed json NOT NULL                   -- an object of words
);
-- A request is written once, whoever writes it again. Its names come from clients and upstreams and may have any
-- length, which an entry of an index may not: where one must be unique, 128 bits of hash are.
CREATE UNIQUE INDEX request_time ON tiny_dancer.request (time, hashtextextended(id, 0), hashtextextended(id, 1));
-- Finds requests by what clients call them. Rows come in the order of time, and an index over random texts would
-- write a page for every row; this one writes a few bytes for 32 pages, and finds those that may hold a text.
CREATE INDEX request_ids ON tiny_dancer.request USING brin (
    id text_bloom_ops, response_id text_bloom_ops, decision_id text_bloom_ops
) WITH (pages_per_range = 32, autosummarize = on);

-- What budgets of keys are measured by: summed up as requests come in, and kept when they are removed.
CREATE TABLE tiny_dancer.spend (
    day bigint NOT NULL,                    -- UTC, days since 1970
    key text COLLATE "C" NOT NULL,
    model text COLLATE "C" NOT NULL,
    cost double precision NOT NULL,         -- USD
    tokens bigint NOT NULL,
    requests bigint NOT NULL
);
CREATE UNIQUE INDEX spend_names ON tiny_dancer.spend (
    day, hashtextextended(key, 0), hashtextextended(key, 1), hashtextextended(model, 0), hashtextextended(model, 1)
);

-- What requests came to that retention has removed, summed up as they are. Only by what has few values, as its operator
-- sets them: by users or hours it would grow like the requests themselves. Names and sums are NULL of requests that an
-- early version removed, which come from a backup.
CREATE TABLE tiny_dancer.request_sums (
    names bytea PRIMARY KEY,                -- SHA-256 of day to project, as a JSON list
    day bigint NOT NULL,                    -- UTC, days since 1970
    key text COLLATE "C" NOT NULL,
    model text COLLATE "C",
    upstream text COLLATE "C",
    endpoint text COLLATE "C",
    router text COLLATE "C",
    routed_by text COLLATE "C",
    variant text COLLATE "C",
    role text COLLATE "C",
    status bigint,
    agent text COLLATE "C",
    route text COLLATE "C",
    team text COLLATE "C",
    project text COLLATE "C",
    first double precision NOT NULL,        -- UTC seconds of the earliest
    last double precision NOT NULL,         -- and of the latest of them
    requests bigint NOT NULL,
    errors double precision,
    fallbacks double precision,
    attempts double precision,
    input_tokens double precision,
    output_tokens double precision,
    cached_tokens double precision,
    cost double precision,         -- USD, of those that have a baseline too
    baseline_cost double precision,
    compared double precision,
    other_cost double precision,
    guessed double precision,
    guessed_cost double precision,
    unpriced double precision,
    uncosted double precision,
    latency double precision,      -- seconds, of all of them together
    ttft double precision,
    timed double precision,
    confidence double precision,
    decided double precision,
    feedback double precision,
    score double precision,
    guarded double precision
);
CREATE INDEX request_sums_day ON tiny_dancer.request_sums (day);

-- Requests that wait for a person. Their state is said by these columns and the clock: nothing has to run for it.
CREATE TABLE tiny_dancer.queue (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id text COLLATE "C" NOT NULL UNIQUE,
    time double precision NOT NULL,         -- when it was put there
    expires_at double precision NOT NULL,   -- from then on nobody can answer it
    context text NOT NULL,                  -- what a person reads: JSON, mostly
    said text NOT NULL,                     -- what the user said last
    chain text NOT NULL,
    key text NOT NULL,                      -- id of the API key; empty without one
    hops text NOT NULL,
    claimed_by text,
    claimed_until double precision,
    answer text,
    ended_by text,
    ended_at double precision               -- answered, or without an answer cancelled
);
CREATE INDEX queue_open ON tiny_dancer.queue (expires_at) WHERE ended_at IS NULL;

-- Agents, and what came of their calls.
CREATE TABLE tiny_dancer.agent (
    name text COLLATE "C" PRIMARY KEY,
    declared json NOT NULL CHECK (json_typeof(declared) = 'object'),    -- its fields, as Agent.to_json has them
    state json,                             -- sums over its outcomes, an object of the engine's; NULL: no outcomes
    updated_at double precision NOT NULL    -- UTC seconds of the last declaration
);

-- Budgets of anything: a key, a user, a team, ..., and what was spent of each.
CREATE TABLE tiny_dancer.budget (
    id text COLLATE "C" PRIMARY KEY,        -- scope/subject/period
    scope text NOT NULL,
    subject text NOT NULL,                  -- empty for the scope of everything
    most double precision NOT NULL CHECK (most BETWEEN 0 AND 9000000),  -- USD
    period text,                            -- 1d, 1mo, rolling 30d; NULL: one that never ends
    kind text NOT NULL CHECK (kind IN ('hard', 'soft')),
    starts_at double precision,
    ends_at double precision,
    created_at double precision NOT NULL
);

-- What each holder (a table of reservations in a process or beside several) may spend in a period, and has. No holder
-- spends what it has not drawn here before; what is drawn counts as spent where its holder is lost. Who draws holds
-- pg_advisory_xact_lock(hashtextextended(budget, 8386936662405899636)) from before it reads until it commits.
CREATE TABLE tiny_dancer.budget_spending (
    budget text COLLATE "C" NOT NULL,
    start bigint NOT NULL,                  -- UTC milliseconds: of the period, or of the part of a rolling one
    holder bigint NOT NULL,
    drawn bigint NOT NULL CHECK (drawn >= 0),   -- 10^-12 USD
    spent bigint NOT NULL CHECK (spent >= 0),   -- 10^-12 USD, as last told
    PRIMARY KEY (budget, start, holder)
);

-- How often agents and budgets were written: who has seen the number has seen everything before. Triggers count,
-- whoever writes.
CREATE TABLE tiny_dancer.table_change (
    name text PRIMARY KEY,                  -- agent, budget
    changes bigint NOT NULL
) WITH (fillfactor = 20);
INSERT INTO tiny_dancer.table_change VALUES ('agent', 0), ('budget', 0);

CREATE FUNCTION tiny_dancer.count_table_change() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    -- Of a TRUNCATE there is no table of what has changed.
    IF TG_OP <> 'TRUNCATE' THEN
        IF NOT EXISTS (SELECT FROM changed) THEN
            RETURN NULL;
        END IF;
    END IF;
    UPDATE tiny_dancer.table_change SET changes = changes + 1 WHERE name = TG_TABLE_NAME;
    RETURN NULL;
END $$;
CREATE TRIGGER counted_insert AFTER INSERT ON tiny_dancer.agent REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION tiny_dancer.count_table_change();
CREATE TRIGGER counted_update AFTER UPDATE ON tiny_dancer.agent REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION tiny_dancer.count_table_change();
CREATE TRIGGER counted_delete AFTER DELETE ON tiny_dancer.agent REFERENCING OLD TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION tiny_dancer.count_table_change();
CREATE TRIGGER counted_truncate AFTER TRUNCATE ON tiny_dancer.agent
    FOR EACH STATEMENT EXECUTE FUNCTION tiny_dancer.count_table_change();
CREATE TRIGGER counted_insert AFTER INSERT ON tiny_dancer.budget REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION tiny_dancer.count_table_change();
CREATE TRIGGER counted_update AFTER UPDATE ON tiny_dancer.budget REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION tiny_dancer.count_table_change();
CREATE TRIGGER counted_delete AFTER DELETE ON tiny_dancer.budget REFERENCING OLD TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION tiny_dancer.count_table_change();
CREATE TRIGGER counted_truncate AFTER TRUNCATE ON tiny_dancer.budget
    FOR EACH STATEMENT EXECUTE FUNCTION tiny_dancer.count_table_change();

-- The row of state is locked from the first change to a candidate until the transaction ends: changes are committed
-- in the order of their numbers, so who has seen a number has seen all before it.
CREATE FUNCTION tiny_dancer.count_candidate_change() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        UPDATE tiny_dancer.state SET changes = changes + 1, epoch = gen_random_uuid()::text;
    ELSE
        UPDATE tiny_dancer.state SET changes = changes + 1;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER counted BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON tiny_dancer.candidate
    FOR EACH STATEMENT EXECUTE FUNCTION tiny_dancer.count_candidate_change();

CREATE FUNCTION tiny_dancer.mark_candidate() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    SELECT changes INTO STRICT NEW.change FROM tiny_dancer.state;
    IF TG_OP = 'INSERT' THEN
        NEW.content_change := NEW.change;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER marked BEFORE INSERT OR UPDATE ON tiny_dancer.candidate
    FOR EACH ROW EXECUTE FUNCTION tiny_dancer.mark_candidate();

CREATE FUNCTION tiny_dancer.mark_candidate_content() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    NEW.content_change := NEW.change;
    IF NEW.updated_at = OLD.updated_at THEN
        NEW.updated_at := extract(epoch FROM clock_timestamp());
    END IF;
    RETURN NEW;
END $$;
-- After `marked`, in the order of their names.
CREATE TRIGGER marked_content BEFORE UPDATE OF id, text, created_at, confidence, metadata, session, position,
    namespace, ttl_s, updated_at, embedding ON tiny_dancer.candidate
    FOR EACH ROW EXECUTE FUNCTION tiny_dancer.mark_candidate_content();

CREATE FUNCTION tiny_dancer.check_embedding() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    stored integer;
BEGIN
    SELECT dimension INTO STRICT stored FROM tiny_dancer.state;
    IF stored IS NULL THEN
        UPDATE tiny_dancer.state SET dimension = cardinality(NEW.embedding);
    ELSIF stored <> cardinality(NEW.embedding) THEN
        RAISE EXCEPTION 'embedding: dimension %', cardinality(NEW.embedding) USING
            ERRCODE = 'check_violation',
            HINT = format('the stored candidates have %s: use their encoder', stored);
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER embedded BEFORE INSERT OR UPDATE OF embedding ON tiny_dancer.candidate
    FOR EACH ROW WHEN (NEW.embedding IS NOT NULL) EXECUTE FUNCTION tiny_dancer.check_embedding();

CREATE FUNCTION tiny_dancer.note_deletions() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    present bigint;
BEGIN
    SELECT changes INTO STRICT present FROM tiny_dancer.state;
    INSERT INTO tiny_dancer.candidate_deletion (id, change)
        SELECT id, present FROM gone ON CONFLICT (id) DO UPDATE SET change = excluded.change;
    -- A mirror that slept through more deletions is loaded anew.
    DELETE FROM tiny_dancer.candidate_deletion WHERE change <= present - 100000;
    IF FOUND THEN
        UPDATE tiny_dancer.state SET forgotten = present - 100000;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER noted AFTER DELETE ON tiny_dancer.candidate REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION tiny_dancer.note_deletions();

CREATE FUNCTION tiny_dancer.note_insertions() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    DELETE FROM tiny_dancer.candidate_deletion USING added WHERE candidate_deletion.id = added.id;
    RETURN NULL;
END $$;
CREATE TRIGGER noted_insertions AFTER INSERT ON tiny_dancer.candidate REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION tiny_dancer.note_insertions();
