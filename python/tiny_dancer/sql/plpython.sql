-- Tiny Dancer in PostgreSQL, where the extension may not be installed: the same functions, in plpython3u over the
-- Python package. Printed by `tiny-dancer db plpython`. Run it as a superuser; the server's Python has to find the
-- package: set PYTHONPATH for the server, or install it where that Python looks.
--
-- Made by tools/plpython_script.py of the extension's own SQL. Change that.

BEGIN;
CREATE EXTENSION IF NOT EXISTS plpython3u;
CREATE SCHEMA IF NOT EXISTS tiny_dancer;

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

-- Arguments, checked: errors of PostgreSQL's own would not say which one, and what to do. Part of tiny_dancer--VERSION.sql,
-- before all others.

CREATE FUNCTION tiny_dancer.checked_name(field text, value text) RETURNS text
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE COST 10 SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    -- What an entry of an index takes.
    IF octet_length(value) > 2600 THEN
        RAISE string_data_right_truncation USING
            MESSAGE = 'an argument is not valid', COLUMN = field,
            DETAIL = format('%s: %s... (%s bytes)', field, left(value, 20), octet_length(value)),
            HINT = 'give at most 2,600 bytes';
    END IF;
    IF value IS NULL OR value = '' THEN
        RAISE null_value_not_allowed USING
            MESSAGE = 'an argument is not valid', DETAIL = field || CASE WHEN value IS NULL THEN ': null' ELSE ': empty' END,
            HINT = 'give a text that is not empty', COLUMN = field;
    END IF;
    RETURN value;
END $$;

COMMENT ON FUNCTION tiny_dancer.checked_name(text, text) IS 'a text by which a row is found: not empty, and at most 2,600 bytes';

CREATE FUNCTION tiny_dancer.checked_time(field text, value timestamptz) RETURNS double precision
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE COST 10 SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF value NOT BETWEEN '0001-01-01 00:00:00+00' AND '9999-12-31 23:59:59+00' THEN
        RAISE datetime_field_overflow USING
            MESSAGE = 'an argument is not valid', DETAIL = field || ': ' || value, COLUMN = field,
            HINT = 'give a time in the years 1 to 9999, or leave it out';
    END IF;
    RETURN extract(epoch FROM value);
END $$;

COMMENT ON FUNCTION tiny_dancer.checked_time(text, timestamptz) IS 'a time in UTC seconds, in the years 1 to 9999; null of null';

CREATE FUNCTION tiny_dancer.checked_length(field text, value interval) RETURNS double precision
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE COST 10 SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF value IS NULL OR value <= '0' OR value > '1000 years' THEN
        RAISE invalid_parameter_value USING
            MESSAGE = 'an argument is not valid', DETAIL = field || ': ' || coalesce(value::text, 'null'), COLUMN = field,
            HINT = 'give a time above 0 and up to 1000 years, such as 7 days';
    END IF;
    RETURN extract(epoch FROM value);
END $$;

COMMENT ON FUNCTION tiny_dancer.checked_length(text, interval) IS 'a length of time in seconds: above 0, up to 1000 years';

CREATE FUNCTION tiny_dancer.amount(field text, value double precision) RETURNS double precision
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE COST 10 SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF value < 0 OR value IN ('NaN', 'Infinity') THEN
        RAISE numeric_value_out_of_range USING
            MESSAGE = 'an argument is not valid', DETAIL = field || ': ' || value, COLUMN = field,
            HINT = 'give a finite number, 0 or more, or null where nobody knows';
    END IF;
    RETURN value;
END $$;

COMMENT ON FUNCTION tiny_dancer.amount(text, double precision) IS 'a number that a field may have: finite, 0 or more, or null';

CREATE FUNCTION tiny_dancer.interval_of(field text, value text) RETURNS interval
    LANGUAGE plpgsql STABLE STRICT COST 100 SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN value::interval;
EXCEPTION WHEN data_exception THEN
    RAISE invalid_parameter_value USING
        MESSAGE = 'an argument is not valid', DETAIL = field || ': ' || value, COLUMN = field,
        HINT = 'give a length of time, such as 7 days or 12 hours';
END $$;

COMMENT ON FUNCTION tiny_dancer.interval_of(text, text) IS 'a length of time that is given as a text';

-- Models: artifacts, and what decides by them. Part of tiny_dancer--VERSION.sql, which `make pg` puts together. What is
-- changed here is changed in sql/versions, too, for those who have an earlier version.

-- One row an artifact. The checksum is made of the bytes here, so that none can be claimed; kind and encoder are what the
-- artifact says. models: changes of a router's models, JSON as tiny_dancer.load_artifact takes it.
CREATE TABLE tiny_dancer.artifacts (
    name text PRIMARY KEY CHECK (name <> ''),
    kind text NOT NULL,
    encoder text,
    models text,
    bytes bytea NOT NULL,
    checksum text NOT NULL GENERATED ALWAYS AS (pg_catalog.encode(pg_catalog.sha256(bytes), 'hex')) STORED,
    loaded_at timestamptz NOT NULL DEFAULT pg_catalog.now()
);

ALTER TABLE tiny_dancer.artifacts ALTER COLUMN bytes SET STORAGE EXTERNAL;

CREATE INDEX artifacts_checksum ON tiny_dancer.artifacts (checksum);

CREATE INDEX artifacts_encoder ON tiny_dancer.artifacts (encoder) WHERE kind = 'encoder';

-- A decision whole. Per model, JSON objects by name; null is unknown.
CREATE TYPE tiny_dancer.decision AS (
    model text,
    quality double precision,
    cost double precision,
    confidence double precision,
    likeness double precision,
    reason text,
    routed_by text,
    guarantee json,
    guarantee_note text,
    prediction_set text[],
    removed json,
    scores json,
    costs json,
    latencies json,
    tokens bigint,
    output_tokens json,
    artifact_version text
);

-- Artifacts ----------------------------------------------------------------------------------------------------------

CREATE FUNCTION tiny_dancer.examine_artifact(bytes bytea, models text DEFAULT NULL, OUT kind text, OUT encoder text)
    LANGUAGE plpython3u STABLE COST 100000 AS $python$
from tiny_dancer.sql.plpython import call
return call(plpy, "examine_artifact", bytes, models)
$python$;

COMMENT ON FUNCTION tiny_dancer.examine_artifact(bytea, text) IS
    'loads an artifact, runs its self-checks, and says what it is';

CREATE FUNCTION tiny_dancer.load_artifact(name text, bytes bytea, models jsonb DEFAULT NULL) RETURNS text
    LANGUAGE sql VOLATILE COST 100000
BEGIN ATOMIC
    INSERT INTO tiny_dancer.artifacts AS present (name, kind, encoder, models, bytes)
    SELECT tiny_dancer.checked_name('name', load_artifact.name), found.kind, found.encoder, load_artifact.models::text, load_artifact.bytes
    FROM tiny_dancer.examine_artifact(load_artifact.bytes, load_artifact.models::text) AS found
    ON CONFLICT ON CONSTRAINT artifacts_pkey DO UPDATE
    SET kind = excluded.kind, encoder = excluded.encoder, models = excluded.models, bytes = excluded.bytes,
        loaded_at = excluded.loaded_at
    RETURNING present.checksum;
END;

COMMENT ON FUNCTION tiny_dancer.load_artifact(text, bytea, jsonb) IS
    'puts an artifact, checked, under a name, in the place of one of that name; gives its checksum';

CREATE FUNCTION tiny_dancer.load_artifact(name text, path text, models jsonb DEFAULT NULL) RETURNS text
    LANGUAGE sql VOLATILE COST 100000
BEGIN ATOMIC
    SELECT tiny_dancer.load_artifact(load_artifact.name, pg_catalog.pg_read_binary_file(load_artifact.path),
                                     load_artifact.models);
END;

COMMENT ON FUNCTION tiny_dancer.load_artifact(text, text, jsonb) IS
    'as the other, from a file of the server, by the rights of pg_read_binary_file';

-- Requests -> models --------------------------------------------------------------------------------------------------

CREATE FUNCTION tiny_dancer.decide(request text, options jsonb DEFAULT NULL, artifact text DEFAULT NULL)
    RETURNS tiny_dancer.decision
    LANGUAGE plpython3u STABLE COST 2000 AS $python$
from tiny_dancer.sql.plpython import call
return call(plpy, "decide", request, options, artifact)
$python$;

COMMENT ON FUNCTION tiny_dancer.decide(text, jsonb, text) IS
    'the model for a text, with everything that is to be said of the decision';

CREATE FUNCTION tiny_dancer.decide(request jsonb, options jsonb DEFAULT NULL, artifact text DEFAULT NULL)
    RETURNS tiny_dancer.decision
    LANGUAGE plpython3u STABLE COST 2500 AS $python$
from tiny_dancer.sql.plpython import call
return call(plpy, "decide_body", request, options, artifact)
$python$;

COMMENT ON FUNCTION tiny_dancer.decide(jsonb, jsonb, text) IS
    'as the other, for what a client sends: messages in any dialect, or the body of a call';

CREATE FUNCTION tiny_dancer.decide_model(request text, options jsonb DEFAULT NULL, artifact text DEFAULT NULL)
    RETURNS text
    LANGUAGE plpython3u STABLE COST 1500 AS $python$
from tiny_dancer.sql.plpython import call
return call(plpy, "decide_model", request, options, artifact)
$python$;

COMMENT ON FUNCTION tiny_dancer.decide_model(text, jsonb, text) IS 'the name of the model for a text, and nothing else';

-- Many requests at once, decisions that stay, and the engine's doors. Part of tiny_dancer--VERSION.sql.

CREATE FUNCTION tiny_dancer.decide_many(requests text[], options jsonb DEFAULT NULL, artifact text DEFAULT NULL)
    RETURNS SETOF tiny_dancer.decision
    LANGUAGE plpython3u STABLE COST 200000 ROWS 100 AS $python$
from tiny_dancer.sql.plpython import call
return call(plpy, "decide_many", requests, options, artifact)
$python$;

COMMENT ON FUNCTION tiny_dancer.decide_many(text[], jsonb, text) IS
    'the models for many texts, in their order; a null has a row of nulls';

-- The same for ever, as the checksum names the bytes: for indexes and generated columns.
CREATE FUNCTION tiny_dancer.decide_by(checksum text, request text, options jsonb DEFAULT NULL) RETURNS text
    LANGUAGE plpython3u IMMUTABLE COST 1500 AS $python$
from tiny_dancer.sql.plpython import call
return call(plpy, "decide_by", checksum, request, options)
$python$;

COMMENT ON FUNCTION tiny_dancer.decide_by(text, text, jsonb) IS
    'the name of the model for a text, by the artifact of a checksum';

-- The engine's doors: JSON as text in, and what the engine answers, byte for byte ---------------------------------------

CREATE FUNCTION tiny_dancer.decide_json(request text, options text DEFAULT '', artifact text DEFAULT NULL) RETURNS json
    LANGUAGE plpython3u STABLE COST 2500 AS $python$
from tiny_dancer.sql.plpython import call
return call(plpy, "decide_json", request, options, artifact)
$python$;

COMMENT ON FUNCTION tiny_dancer.decide_json(text, text, text) IS 'request and options as JSON, decided; the answer of the engine';

CREATE FUNCTION tiny_dancer.route_json(request text, options text, artifact text) RETURNS json
    LANGUAGE plpython3u STABLE COST 3000 AS $python$
from tiny_dancer.sql.plpython import call
return call(plpy, "route_json", request, options, artifact)
$python$;

COMMENT ON FUNCTION tiny_dancer.route_json(text, text, text) IS '{"text": ...} and options as JSON -> the route that an artifact of routes gives it, or none';

CREATE FUNCTION tiny_dancer.classify_json(request text, artifact text DEFAULT 'tasks') RETURNS json
    LANGUAGE plpython3u STABLE COST 3000 AS $python$
from tiny_dancer.sql.plpython import call
return call(plpy, "classify_json", request, artifact)
$python$;

COMMENT ON FUNCTION tiny_dancer.classify_json(text, text) IS '{"text": ...} -> what kind of task it is, and what it takes';

CREATE FUNCTION tiny_dancer.select_tools_json(tools text[], query text, artifact text DEFAULT NULL,
                                              encoder text DEFAULT NULL) RETURNS json
    LANGUAGE plpython3u STABLE COST 100000 AS $python$
from tiny_dancer.sql.plpython import call
return call(plpy, "select_tools_json", tools, query, artifact, encoder)
$python$;

COMMENT ON FUNCTION tiny_dancer.select_tools_json(text[], text, text, text) IS 'lists of tools and a query as JSON -> the tools it needs';

CREATE FUNCTION tiny_dancer.tool_ids(tools text[]) RETURNS text[]
    LANGUAGE plpython3u IMMUTABLE STRICT PARALLEL SAFE COST 10000 AS $python$
from tiny_dancer.sql.plpython import call
return call(plpy, "tool_ids", tools)
$python$;

COMMENT ON FUNCTION tiny_dancer.tool_ids(text[]) IS 'the ids by which tools are answered, in their order';

CREATE FUNCTION tiny_dancer.rank_json(candidates text, query text, artifact text DEFAULT NULL,
                                      encoder text DEFAULT NULL) RETURNS json
    LANGUAGE plpython3u STABLE COST 100000 AS $python$
from tiny_dancer.sql.plpython import call
return call(plpy, "rank_json", candidates, query, artifact, encoder)
$python$;

COMMENT ON FUNCTION tiny_dancer.rank_json(text, text, text, text) IS 'candidates and a query as JSON -> the candidates, best first, with their features';

CREATE FUNCTION tiny_dancer.embed(text text, encoder text DEFAULT 'sentences') RETURNS real[]
    LANGUAGE plpython3u STABLE COST 1000 AS $python$
from tiny_dancer.sql.plpython import call
return call(plpy, "embed", text, encoder)
$python$;

COMMENT ON FUNCTION tiny_dancer.embed(text, text) IS 'the text as a vector of 256 numbers, of length 1';

CREATE FUNCTION tiny_dancer.query_hash(request text) RETURNS text
    LANGUAGE plpython3u IMMUTABLE STRICT PARALLEL SAFE COST 20 AS $python$
from tiny_dancer.sql.plpython import call
return call(plpy, "query_hash", request)
$python$;

COMMENT ON FUNCTION tiny_dancer.query_hash(text) IS
    'BLAKE2b-128 of a text in hexadecimal, as the package keeps it: tells repeated requests apart without their texts';

-- Candidates: which of many are worth passing on. Part of tiny_dancer--VERSION.sql.

CREATE FUNCTION tiny_dancer.rank(
    query text,
    ids text[],
    texts text[] DEFAULT NULL,
    embeddings double precision[] DEFAULT NULL,
    embedding double precision[] DEFAULT NULL,
    options jsonb DEFAULT NULL,
    artifact text DEFAULT NULL,
    OUT candidate_id text,
    OUT score real,
    OUT confidence real,
    OUT uncertainty real,
    OUT use_lightweight boolean,
    OUT in_prediction_set boolean,
    OUT error text
) RETURNS SETOF record
    LANGUAGE plpython3u STABLE COST 100000 ROWS 5 AS $python$
from tiny_dancer.sql.plpython import call
return call(plpy, "rank", query, ids, texts, embeddings, embedding, options, artifact)
$python$;

COMMENT ON FUNCTION tiny_dancer.rank(text, text[], text[], double precision[], double precision[], jsonb, text) IS
    'the candidates for a query, best first; those that could take no part come last, with the reason';

-- Agents: who can answer requests, and which of them does. Part of tiny_dancer--VERSION.sql, after the tables.
--
-- What only reads is STABLE and PARALLEL SAFE: it sees the rows of tiny_dancer.agent that the calling role may see. Texts of
-- programs that float numbers are written into have extra_float_digits set, so that no digit is lost.

CREATE TYPE tiny_dancer.agent_choice AS (
    agent_name text,
    confidence double precision,
    estimated_cost double precision,        -- USD
    estimated_latency double precision,     -- milliseconds
    expected_quality double precision,
    reason text,
    runner_up text
);

-- The registry --------------------------------------------------------------------------------------------------------

CREATE FUNCTION tiny_dancer.checked_agent(declaration json) RETURNS json
    LANGUAGE plpython3u IMMUTABLE STRICT PARALLEL SAFE COST 500 AS $python$
from tiny_dancer.sql.plpython import call
return call(plpy, "checked_agent", declaration)
$python$;

COMMENT ON FUNCTION tiny_dancer.checked_agent(json) IS
    'all fields of an agent, checked: {"name": ..., "quality": 0.7, "cost_per_call": 0.001, ...}';

CREATE FUNCTION tiny_dancer.check_agents() RETURNS void
    LANGUAGE plpython3u VOLATILE COST 1000 AS $python$
from tiny_dancer.sql.plpython import call
return call(plpy, "check_agents")
$python$;

COMMENT ON FUNCTION tiny_dancer.check_agents() IS
    'refuses ensembles whose members are not there, or that ask themselves in the end';

CREATE FUNCTION tiny_dancer.declare_agent(declaration json, replace boolean DEFAULT false) RETURNS boolean
    LANGUAGE plpgsql VOLATILE STRICT COST 5000 SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    checked json := tiny_dancer.checked_agent(declaration);
    agent_name text := tiny_dancer.checked_name('name', checked ->> 'name');
    present double precision := extract(epoch FROM statement_timestamp());
BEGIN
    IF replace THEN
        INSERT INTO tiny_dancer.agent AS there (name, declared, updated_at) VALUES (agent_name, checked, present)
            ON CONFLICT (name) DO UPDATE SET declared = excluded.declared, updated_at = excluded.updated_at;
    ELSE
        INSERT INTO tiny_dancer.agent (name, declared, updated_at) VALUES (agent_name, checked, present)
            ON CONFLICT (name) DO NOTHING;
        IF NOT FOUND THEN
            RAISE unique_violation USING
                MESSAGE = 'an agent of this name is registered already',
                DETAIL = 'name: ' || agent_name,
                HINT = 'give it another name, or put it in the other''s place: replace := true',
                COLUMN = 'name';
        END IF;
    END IF;
    IF json_array_length(checked -> 'members') > 0 THEN
        PERFORM tiny_dancer.check_agents();
    END IF;
    RETURN true;
END $$;

COMMENT ON FUNCTION tiny_dancer.declare_agent(json, boolean) IS
    'adds an agent; with replace in the place of that of its name, which keeps what was observed of it';

CREATE FUNCTION tiny_dancer.register_agent(
    name text,
    agent_type text DEFAULT 'llm',
    capabilities text[] DEFAULT '{}',
    cost_per_1k_tokens double precision DEFAULT NULL,
    cost_per_call double precision DEFAULT NULL,
    avg_latency_ms double precision DEFAULT NULL,
    quality_score double precision DEFAULT NULL,
    metadata jsonb DEFAULT NULL,
    replace boolean DEFAULT false
) RETURNS boolean
    LANGUAGE plpgsql VOLATILE COST 5000 SET search_path = pg_catalog, pg_temp SET extra_float_digits = 1 AS $$
BEGIN
    IF name IS NULL OR replace IS NULL THEN
        RAISE null_value_not_allowed USING
            MESSAGE = 'an argument is not valid', DETAIL = CASE WHEN name IS NULL THEN 'name' ELSE 'replace' END || ': null',
            HINT = 'give the agent a name, and replace as true or false';
    END IF;
    IF EXISTS (SELECT FROM unnest(capabilities) AS each WHERE each IS NULL) THEN
        RAISE null_value_not_allowed USING
            MESSAGE = 'an argument is not valid', DETAIL = 'capabilities: a null among them', HINT = 'give texts';
    END IF;
    RETURN tiny_dancer.declare_agent(
        (jsonb_strip_nulls(jsonb_build_object(
            'name', name,
            'type', coalesce(agent_type, 'llm'),
            'capabilities', to_jsonb(coalesce(capabilities, '{}')),
            'input_cost_per_1k', tiny_dancer.amount('cost_per_1k_tokens', cost_per_1k_tokens),
            'output_cost_per_1k', cost_per_1k_tokens,
            'cost_per_call', tiny_dancer.amount('cost_per_call', cost_per_call),
            'latency_s', tiny_dancer.amount('avg_latency_ms', avg_latency_ms) / 1000,
            'quality', tiny_dancer.amount('quality_score', quality_score)
        )) || jsonb_build_object('metadata', CASE jsonb_typeof(metadata)
            WHEN 'null' THEN '{}' ELSE coalesce(metadata, '{}') END))::json,
        replace
    );
END $$;

COMMENT ON FUNCTION tiny_dancer.register_agent(
    text, text, text[], double precision, double precision, double precision, double precision, jsonb, boolean
) IS 'adds an agent of the fields that most have; the tokens of prompt and answer have one price';

CREATE FUNCTION tiny_dancer.remove_agent(name text) RETURNS boolean
    LANGUAGE plpgsql VOLATILE STRICT COST 5000 SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    DELETE FROM tiny_dancer.agent AS there WHERE there.name = remove_agent.name;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    PERFORM tiny_dancer.check_agents();
    RETURN true;
END $$;

COMMENT ON FUNCTION tiny_dancer.remove_agent(text) IS
    'removes an agent and what was observed of it; false where there is none. Refused where an ensemble asks it';

CREATE FUNCTION tiny_dancer.set_agent_active(name text, active boolean) RETURNS boolean
    LANGUAGE plpgsql VOLATILE STRICT COST 5000 SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE tiny_dancer.agent AS there
        SET declared = jsonb_set(declared::jsonb, '{active}', to_jsonb(set_agent_active.active))::json,
            updated_at = extract(epoch FROM statement_timestamp())
        WHERE there.name = set_agent_active.name;
    RETURN FOUND;
END $$;

COMMENT ON FUNCTION tiny_dancer.set_agent_active(text, boolean) IS
    'says whether an agent may be chosen; false where there is none';

CREATE FUNCTION tiny_dancer.agent_state_after(
    state text, outcome text, half_life double precision DEFAULT 2592000
) RETURNS text
    LANGUAGE plpython3u IMMUTABLE PARALLEL SAFE COST 500 AS $python$
from tiny_dancer.sql.plpython import call
return call(plpy, "agent_state_after", state, outcome, half_life)
$python$;

COMMENT ON FUNCTION tiny_dancer.agent_state_after(text, text, double precision) IS
    'the sums over an agent''s outcomes (empty for none) with one more';

CREATE FUNCTION tiny_dancer.observe_agent(
    agent text,
    quality double precision DEFAULT NULL,
    success boolean DEFAULT true,
    task text DEFAULT NULL,
    cost double precision DEFAULT NULL,
    expected_cost double precision DEFAULT NULL,
    latency_ms double precision DEFAULT NULL,
    output_tokens double precision DEFAULT NULL,
    at timestamptz DEFAULT NULL
) RETURNS void
    LANGUAGE plpgsql VOLATILE COST 5000 SET search_path = pg_catalog, pg_temp SET extra_float_digits = 1 AS $$
DECLARE
    outcome text := json_build_object(
        'at', coalesce(tiny_dancer.checked_time('at', at), extract(epoch FROM statement_timestamp())),
        'quality', tiny_dancer.amount('quality', quality), 'success', success, 'task', task,
        'cost', tiny_dancer.amount('cost', cost), 'expected_cost', tiny_dancer.amount('expected_cost', expected_cost),
        'latency', tiny_dancer.amount('latency_ms', latency_ms) / 1000,
        'output_tokens', tiny_dancer.amount('output_tokens', output_tokens)
    );
BEGIN
    UPDATE tiny_dancer.agent AS there
        SET state = tiny_dancer.agent_state_after(coalesce(there.state::text, ''), outcome)::json
        WHERE there.name = observe_agent.agent;
    IF NOT FOUND THEN
        RAISE SQLSTATE 'TD009' USING
            MESSAGE = 'there is no such agent', DETAIL = 'agent: ' || coalesce(agent, 'null'),
            HINT = 'register it first; tiny_dancer.list_agents() has those there are', COLUMN = 'agent';
    END IF;
END $$;

COMMENT ON FUNCTION tiny_dancer.observe_agent(
    text, double precision, boolean, text, double precision, double precision, double precision, double precision,
    timestamptz
) IS 'tells what came of one call of an agent; success null: of a call that was counted before';

-- Also of a declared value that nobody knows: then the mean of what was observed.
CREATE FUNCTION tiny_dancer.mean_after(declared double precision, weight double precision, observed json)
    RETURNS double precision
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN (coalesce(weight * declared, 0) + coalesce((observed ->> 'sum')::double precision, 0))
        / nullif(CASE WHEN declared IS NULL THEN 0 ELSE weight END
            + coalesce((observed ->> 'weight')::double precision, 0), 0);

COMMENT ON FUNCTION tiny_dancer.mean_after(double precision, double precision, json) IS
    'a declared mean, worth so many outcomes, after the sums of those observed';

-- What is declared of an agent after what was observed, as choices reckon it, but for fading since the last outcome.
CREATE FUNCTION tiny_dancer.list_agents(
    OUT name text,
    OUT agent_type text,
    OUT capabilities text[],
    OUT cost_per_1k_tokens double precision,
    OUT cost_per_call double precision,
    OUT avg_latency_ms double precision,
    OUT quality_score double precision,
    OUT success_rate double precision,
    OUT total_requests bigint,
    OUT is_active boolean,
    OUT metadata jsonb
) RETURNS SETOF record
    LANGUAGE sql STABLE PARALLEL SAFE COST 1000 ROWS 10
BEGIN ATOMIC
    SELECT
        there.name,
        declared ->> 'type',
        ARRAY(SELECT json_array_elements_text(declared -> 'capabilities')),
        (declared ->> 'input_cost_per_1k')::double precision,
        (declared ->> 'cost_per_call')::double precision,
        1000 * tiny_dancer.mean_after(
            (declared ->> 'latency_s')::double precision, (declared ->> 'prior_weight')::double precision, state -> 'latency'),
        tiny_dancer.mean_after(
            (declared ->> 'quality')::double precision, (declared ->> 'prior_weight')::double precision, state -> 'quality'),
        tiny_dancer.mean_after(
            coalesce((declared ->> 'success_rate')::double precision, 1), (declared ->> 'prior_weight')::double precision,
            state -> 'success'),
        coalesce((state ->> 'outcomes')::bigint, 0),
        (declared ->> 'active')::boolean,
        (declared -> 'metadata')::jsonb
    FROM tiny_dancer.agent AS there
    ORDER BY there.name;
END;

COMMENT ON FUNCTION tiny_dancer.list_agents() IS 'the agents there are, by name';

CREATE FUNCTION tiny_dancer.agent(name text) RETURNS jsonb
    LANGUAGE sql STABLE STRICT PARALLEL SAFE COST 100
BEGIN ATOMIC
    SELECT declared::jsonb || jsonb_build_object('observed', state::jsonb)
    FROM tiny_dancer.agent AS there WHERE there.name = agent.name;
END;

COMMENT ON FUNCTION tiny_dancer.agent(text) IS 'an agent as it was declared, and the sums over its outcomes; null where there is none';

-- Choices -------------------------------------------------------------------------------------------------------------

CREATE FUNCTION tiny_dancer.route(
    request text,
    optimize_for text DEFAULT 'balanced',
    required_capabilities text[] DEFAULT NULL,
    max_cost double precision DEFAULT NULL,
    max_latency_ms double precision DEFAULT NULL,
    min_quality double precision DEFAULT NULL,
    budget_remaining double precision DEFAULT NULL,
    options jsonb DEFAULT NULL
) RETURNS tiny_dancer.agent_choice
    LANGUAGE plpython3u STABLE COST 500 AS $python$
from tiny_dancer.sql.plpython import call
return call(plpy, "route", request, optimize_for, required_capabilities, max_cost, max_latency_ms, min_quality, budget_remaining, options)
$python$;

COMMENT ON FUNCTION tiny_dancer.route(
    text, text, text[], double precision, double precision, double precision, double precision, jsonb
) IS 'the agent for a request; SQLSTATE TD008, with what removed whom, where none is left';

CREATE FUNCTION tiny_dancer.route_multi(
    request text,
    optimize_for text DEFAULT 'balanced',
    required_capabilities text[] DEFAULT NULL,
    max_cost double precision DEFAULT NULL,
    max_latency_ms double precision DEFAULT NULL,
    min_quality double precision DEFAULT NULL,
    budget_remaining double precision DEFAULT NULL,
    options jsonb DEFAULT NULL,
    num_agents integer DEFAULT 3,
    strategy text DEFAULT 'pipeline',
    combine text DEFAULT 'vote',
    OUT step integer,
    OUT agent_name text,
    OUT capabilities text[],
    OUT expected_quality double precision,
    OUT estimated_cost double precision,
    OUT estimated_latency double precision,
    OUT total_quality double precision,
    OUT total_cost double precision,
    OUT total_latency double precision,
    OUT reason text
) RETURNS SETOF record
    LANGUAGE plpython3u STABLE COST 10000 ROWS 3 AS $python$
from tiny_dancer.sql.plpython import call
return call(plpy, "route_multi", request, optimize_for, required_capabilities, max_cost, max_latency_ms, min_quality, budget_remaining, options, num_agents, strategy, combine)
$python$;

COMMENT ON FUNCTION tiny_dancer.route_multi(
    text, text, text[], double precision, double precision, double precision, double precision, jsonb, integer, text, text
) IS 'several agents for a request: a pipeline, parallel parts, or an ensemble';

CREATE FUNCTION tiny_dancer.batch_route(
    requests text[],
    optimize_for text DEFAULT 'total_cost',
    required_capabilities text[] DEFAULT NULL,
    max_cost double precision DEFAULT NULL,
    max_latency_ms double precision DEFAULT NULL,
    min_quality double precision DEFAULT NULL,
    budget_remaining double precision DEFAULT NULL,
    options jsonb DEFAULT NULL,
    min_mean_quality double precision DEFAULT NULL,
    capacities jsonb DEFAULT NULL,
    OUT request_index integer,
    OUT request text,
    OUT agent_name text,
    OUT expected_quality double precision,
    OUT estimated_cost double precision,
    OUT estimated_latency double precision,
    OUT mean_quality double precision,
    OUT total_cost double precision
) RETURNS SETOF record
    LANGUAGE plpython3u STABLE COST 50000 ROWS 100 AS $python$
from tiny_dancer.sql.plpython import call
return call(plpy, "batch_route", requests, optimize_for, required_capabilities, max_cost, max_latency_ms, min_quality, budget_remaining, options, min_mean_quality, capacities)
$python$;

COMMENT ON FUNCTION tiny_dancer.batch_route(
    text[], text, text[], double precision, double precision, double precision, double precision, jsonb, double precision,
    jsonb
) IS 'agents for a batch: as a whole at the least total cost, or the best for a budget; or one by one by another policy';

CREATE FUNCTION tiny_dancer.choose_agent(query json) RETURNS json
    LANGUAGE plpython3u STABLE STRICT COST 1000 AS $python$
from tiny_dancer.sql.plpython import call
return call(plpy, "choose_agent", query)
$python$;

COMMENT ON FUNCTION tiny_dancer.choose_agent(json) IS
    'the engine''s door: a query in JSON, and its whole answer, with intervals and what removed whom';

CREATE FUNCTION tiny_dancer.choose_among(agents text, query text, half_life double precision DEFAULT 2592000) RETURNS text
    LANGUAGE plpython3u IMMUTABLE PARALLEL SAFE COST 5000 AS $python$
from tiny_dancer.sql.plpython import call
return call(plpy, "choose_among", agents, query, half_life)
$python$;

COMMENT ON FUNCTION tiny_dancer.choose_among(text, text, double precision) IS
    'the same among agents that are given, in JSON as the engine reads it; byte for byte its answer';

-- Routes by likeness --------------------------------------------------------------------------------------------------

CREATE TABLE tiny_dancer.semantic_route (
    name text COLLATE "C" PRIMARY KEY CHECK (name <> ''),
    description text NOT NULL,
    embedding real[] NOT NULL,
    target_agent text NOT NULL CHECK (target_agent <> ''),
    priority integer NOT NULL DEFAULT 0,
    updated_at timestamptz NOT NULL DEFAULT statement_timestamp()
);

CREATE FUNCTION tiny_dancer.direction(embedding text, field text) RETURNS real[]
    LANGUAGE plpython3u IMMUTABLE STRICT PARALLEL SAFE COST 100 AS $python$
from tiny_dancer.sql.plpython import call
return call(plpy, "direction", embedding, field)
$python$;

COMMENT ON FUNCTION tiny_dancer.direction(text, text) IS
    'the numbers of a vector that is written as a list; refused where it has no direction';

-- The vector is of any type that is written as a list of numbers: arrays of numbers, pgvector's types, JSON.
CREATE FUNCTION tiny_dancer.create_route(
    name text,
    description text,
    embedding anycompatible DEFAULT NULL::real[],
    target_agent text DEFAULT NULL,
    priority integer DEFAULT 0,
    replace boolean DEFAULT false
) RETURNS boolean
    LANGUAGE plpgsql VOLATILE COST 5000 SET search_path = pg_catalog, pg_temp SET extra_float_digits = 1 AS $$
DECLARE
    missing text := CASE '' WHEN coalesce(name, '') THEN 'name' WHEN coalesce(target_agent, '') THEN 'target_agent'
        WHEN coalesce(description, '') THEN CASE WHEN embedding IS NULL THEN 'description' END END;
    vector real[];
BEGIN
    IF missing IS NOT NULL THEN
        RAISE null_value_not_allowed USING
            MESSAGE = 'an argument is not valid', DETAIL = missing || ': empty', COLUMN = missing,
            HINT = 'give the route a name, an agent it leads to, and a description or a vector';
    END IF;
    PERFORM tiny_dancer.checked_name('name', name), tiny_dancer.checked_name('target_agent', target_agent);
    vector := coalesce(
        tiny_dancer.direction(embedding::text, 'embedding'),
        tiny_dancer.embed(regexp_replace(name, '[_./\s-]+', ' ', 'g') || ': ' || description));
    INSERT INTO tiny_dancer.semantic_route AS there (name, description, embedding, target_agent, priority)
        VALUES (name, coalesce(description, ''), vector, target_agent, coalesce(priority, 0))
        ON CONFLICT ON CONSTRAINT semantic_route_pkey DO UPDATE
        SET description = excluded.description, embedding = excluded.embedding,
            target_agent = excluded.target_agent, priority = excluded.priority, updated_at = excluded.updated_at
        WHERE replace;
    IF NOT FOUND THEN
        RAISE unique_violation USING
            MESSAGE = 'a route of this name is there already', DETAIL = 'name: ' || name, COLUMN = 'name',
            HINT = 'give it another name, or put it in the other''s place: tiny_dancer.create_route(..., replace := true)';
    END IF;
    RETURN true;
END $$;

COMMENT ON FUNCTION tiny_dancer.create_route(text, text, anycompatible, text, integer, boolean) IS
    'adds a route that requests like its description, or like its vector, take to an agent';

CREATE FUNCTION tiny_dancer.drop_route(name text) RETURNS boolean
    LANGUAGE plpgsql VOLATILE STRICT COST 1000 SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    DELETE FROM tiny_dancer.semantic_route AS there WHERE there.name = drop_route.name;
    RETURN FOUND;
END $$;

COMMENT ON FUNCTION tiny_dancer.drop_route(text) IS 'removes a route; false where there is none';

CREATE FUNCTION tiny_dancer.semantic_route(
    embedding real[],
    top_k integer DEFAULT 3,
    OUT route_name text,
    OUT similarity double precision,
    OUT target_agent text,
    OUT confidence double precision,
    OUT priority integer
) RETURNS SETOF record
    LANGUAGE plpython3u STABLE COST 1000 ROWS 3 AS $python$
from tiny_dancer.sql.plpython import call
return call(plpy, "semantic_route", embedding, top_k)
$python$;

COMMENT ON FUNCTION tiny_dancer.semantic_route(real[], integer) IS
    'the routes whose vectors are most like this one: cosine, and a softmax of it over all routes';

CREATE FUNCTION tiny_dancer.semantic_route(
    query text,
    top_k integer DEFAULT 3,
    OUT route_name text,
    OUT similarity double precision,
    OUT target_agent text,
    OUT confidence double precision,
    OUT priority integer
) RETURNS SETOF record
    LANGUAGE sql STABLE COST 3000 ROWS 3
BEGIN ATOMIC
    SELECT * FROM tiny_dancer.semantic_route(tiny_dancer.embed(query), top_k);
END;

COMMENT ON FUNCTION tiny_dancer.semantic_route(text, integer) IS 'the same for a text';

-- Kinds of tasks ------------------------------------------------------------------------------------------------------

CREATE FUNCTION tiny_dancer.classify_request(request text, artifact text DEFAULT 'tasks') RETURNS json
    LANGUAGE plpython3u STABLE COST 3000 AS $python$
from tiny_dancer.sql.plpython import call
return call(plpy, "classify_request", request, artifact)
$python$;

COMMENT ON FUNCTION tiny_dancer.classify_request(text, text) IS
    'the kind of task a request is: categories with probabilities, likeliest first, the top one, and what the task takes';

-- Budgets in SQL: reserve, settle, release. Part of tiny_dancer--VERSION.sql, after the tables.
--
-- SQL is one holder of the ledger, number 0, beside the tables that Python's processes keep. What is reserved is drawn: so
-- what all have drawn of a budget in its period is what is promised, and never more than its limit. A hold is a row; who
-- does not settle it has spent it. Who draws of a budget holds its lock until the transaction ends, as Python does.

CREATE TABLE tiny_dancer.budget_hold (
    hold uuid NOT NULL,
    budget text COLLATE "C" NOT NULL,
    start bigint NOT NULL,                  -- UTC milliseconds: of the period, or of the part of a rolling one
    amount bigint NOT NULL CHECK (amount >= 0),     -- 10^-12 USD
    expires_at double precision NOT NULL,   -- UTC seconds; from then on it counts as spent
    PRIMARY KEY (hold, budget)
);

CREATE INDEX budget_hold_expires ON tiny_dancer.budget_hold (budget, expires_at);

-- The nearest, as Python rounds it.
CREATE FUNCTION tiny_dancer.budget_units(field text, usd double precision) RETURNS bigint
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE COST 10 SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF usd IS NULL OR usd = 'NaN' OR usd < 0 OR usd > 9000000 THEN
        RAISE numeric_value_out_of_range USING
            MESSAGE = 'an argument is not valid', DETAIL = field || ': ' || coalesce(usd::text, 'null'), COLUMN = field,
            HINT = 'give USD, from 0 to 9,000,000';
    END IF;
    RETURN round(usd * 1000000000000::double precision);
END $$;

COMMENT ON FUNCTION tiny_dancer.budget_units(text, double precision) IS 'an amount of USD in units of the ledger';

CREATE FUNCTION tiny_dancer.budget_period(period text) RETURNS text
    LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE COST 10 SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    words text := lower(btrim(period));
    rolls boolean := starts_with(words, 'rolling ');
    length text := CASE WHEN rolls THEN btrim(substr(words, 9)) ELSE words END;
BEGIN
    length := CASE length WHEN 'hour' THEN '1h' WHEN 'day' THEN '1d' WHEN 'week' THEN '1w' WHEN 'month' THEN '1mo'
        WHEN 'year' THEN '12mo' ELSE length END;
    IF length ~ '^[1-9][0-9]{0,5}(s|m|h|d|w|mo)$' THEN
        IF NOT rolls THEN
            RETURN length;
        ELSIF length !~ 'mo$' AND tiny_dancer.period_seconds(length) >= 30 THEN
            RETURN 'rolling ' || length;
        END IF;
    END IF;
    RAISE invalid_parameter_value USING
        MESSAGE = 'an argument is not valid', DETAIL = 'period: ' || period, COLUMN = 'period',
        HINT = 'give day, week, month, year, a length such as 12h or 30d, or ''rolling 30d'' of 30s or more and no months';
END $$;

COMMENT ON FUNCTION tiny_dancer.budget_period(text) IS 'a period in its one spelling: 1d of day, 1mo of month, rolling 30d';

CREATE FUNCTION tiny_dancer.period_seconds(length text) RETURNS bigint
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN substring(length FROM '^[0-9]+')::bigint * CASE right(length, 1)
        WHEN 's' THEN 1 WHEN 'm' THEN 60 WHEN 'h' THEN 3600 WHEN 'd' THEN 86400 WHEN 'w' THEN 604800 END;

COMMENT ON FUNCTION tiny_dancer.period_seconds(text) IS 'seconds of a length such as 12h; null of months';

-- As Python's tiny_dancer.storage.periods: parts of a rolling window are a thirtieth, rounded up.
CREATE FUNCTION tiny_dancer.budget_span(
    period text,
    created_at double precision,
    moment double precision,
    OUT start bigint,
    OUT since bigint,
    OUT length bigint,
    OUT ends_at double precision
) RETURNS record
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE COST 50 SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    count integer;
    month integer;
    anchor double precision;
    seconds bigint;
BEGIN
    IF period IS NULL THEN
        start := 0; since := 0; length := 0; ends_at := 'Infinity';
    ELSIF starts_with(period, 'rolling ') THEN
        length := (tiny_dancer.period_seconds(substr(period, 9)) * 1000 + 29) / 30;
        start := floor(moment * 1000 / length)::bigint * length;
        since := start - 30 * length;
    ELSIF right(period, 2) = 'mo' THEN
        count := substring(period FROM '^[0-9]+')::integer;
        month := tiny_dancer.utc_month(moment);
        month := month - ((month - tiny_dancer.utc_month(created_at)) % count + count) % count;
        start := tiny_dancer.month_start(month) * 1000;
        ends_at := tiny_dancer.month_start(month + count);
        length := ends_at * 1000 - start;
        since := start;
    ELSE
        seconds := tiny_dancer.period_seconds(period);
        anchor := floor(created_at / 86400) * 86400;
        anchor := anchor + floor((moment - anchor) / seconds) * seconds;
        start := round(anchor * 1000);
        ends_at := anchor + seconds;
        length := seconds * 1000;
        since := start;
    END IF;
END $$;

COMMENT ON FUNCTION tiny_dancer.budget_span(text, double precision, double precision) IS
    'milliseconds: when the period at a moment began, the first part that counts with it, and its length; when it ends';

CREATE FUNCTION tiny_dancer.utc_month(moment double precision) RETURNS integer
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN 12 * date_part('year', to_timestamp(moment) AT TIME ZONE 'UTC')::integer
        + date_part('month', to_timestamp(moment) AT TIME ZONE 'UTC')::integer - 1;

COMMENT ON FUNCTION tiny_dancer.utc_month(double precision) IS 'months since the year 0';

CREATE FUNCTION tiny_dancer.month_start(month integer) RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN (make_date(month / 12, month % 12 + 1, 1) - '1970-01-01'::date)::bigint * 86400;

COMMENT ON FUNCTION tiny_dancer.month_start(integer) IS 'UTC seconds when a month began';

CREATE FUNCTION tiny_dancer.set_budget(
    scope text,
    subject text,
    usd double precision,
    period text DEFAULT NULL,
    kind text DEFAULT 'hard',
    starts_at timestamptz DEFAULT NULL,
    ends_at timestamptz DEFAULT NULL
) RETURNS text
    LANGUAGE plpgsql VOLATILE COST 5000 SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    present double precision := extract(epoch FROM statement_timestamp());
    begins double precision := tiny_dancer.checked_time('starts_at', starts_at);
    ends double precision := tiny_dancer.checked_time('ends_at', ends_at);
    spelled text := tiny_dancer.budget_period(period);
    whom text := coalesce(subject, '');
    budget_id text;
    trouble text[];
BEGIN
    PERFORM tiny_dancer.budget_units('usd', usd);
    trouble := CASE
        WHEN scope IS NULL OR scope NOT IN ('key', 'user', 'team', 'agent', 'model', 'route', 'project', 'tag', 'all') THEN
            ARRAY['scope', coalesce(scope, 'null'),
                'the scopes are key, user, team, agent, model, route, project, tag, all']
        WHEN scope = 'all' AND whom <> '' THEN
            ARRAY['subject', whom, 'leave it out: a budget of everything has none']
        WHEN scope <> 'all' AND whom = '' THEN
            ARRAY['subject', 'empty', 'name the ' || scope || ' it is for, or give the scope all']
        WHEN kind IS NULL OR kind NOT IN ('hard', 'soft') THEN
            ARRAY['kind', coalesce(kind, 'null'), 'the kinds are hard, soft']
        WHEN ends <= begins THEN
            ARRAY['ends_at', ends_at::text, 'give an end after the start']
        WHEN ends <= present THEN
            ARRAY['ends_at', ends_at::text, 'give an end to come, or none']
    END;
    IF trouble IS NOT NULL THEN
        RAISE invalid_parameter_value USING
            MESSAGE = 'an argument is not valid', DETAIL = trouble[1] || ': ' || trouble[2], HINT = trouble[3],
            COLUMN = trouble[1];
    END IF;
    IF whom <> '' THEN
        PERFORM tiny_dancer.checked_name('subject', whom);
    END IF;
    budget_id := concat_ws('/', scope, nullif(whom, ''), coalesce(spelled, 'ever'), nullif(kind, 'hard'));
    INSERT INTO tiny_dancer.budget AS there (id, scope, subject, most, period, kind, starts_at, ends_at, created_at)
        VALUES (budget_id, scope, whom, usd, spelled, kind, begins, ends, present)
        ON CONFLICT ON CONSTRAINT budget_pkey DO UPDATE
        SET most = excluded.most, starts_at = excluded.starts_at, ends_at = excluded.ends_at;
    RETURN budget_id;
END $$;

COMMENT ON FUNCTION tiny_dancer.set_budget(text, text, double precision, text, text, timestamptz, timestamptz) IS
    'sets what may be spent by whom in which period; gives its id. What was spent already counts';

CREATE FUNCTION tiny_dancer.delete_budget(id text) RETURNS boolean
    LANGUAGE plpgsql VOLATILE STRICT COST 1000 SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    DELETE FROM tiny_dancer.budget AS there WHERE there.id = delete_budget.id;
    RETURN FOUND;
END $$;

COMMENT ON FUNCTION tiny_dancer.delete_budget(text) IS 'removes a budget, but nothing that was spent of it; false where there is none';

CREATE FUNCTION tiny_dancer.budget_ledger(
    budget text, start bigint, since bigint, OUT most double precision, OUT drawn numeric
) RETURNS record
    LANGUAGE plpython3u VOLATILE STRICT COST 500 AS $python$
from tiny_dancer.sql.plpython import call
return call(plpy, "budget_ledger", budget, start, since)
$python$;

COMMENT ON FUNCTION tiny_dancer.budget_ledger(text, bigint, bigint) IS
    'the limit of a budget and what all have drawn of it, as of now in every isolation level; for who holds its lock';

-- Which budgets in force a call falls under, in the order in which their locks are taken.
CREATE FUNCTION tiny_dancer.budgets_of(
    key text, "user" text, team text, agent text, model text, route text, project text, tags text[],
    moment double precision
) RETURNS SETOF tiny_dancer.budget
    LANGUAGE sql STABLE PARALLEL SAFE ROWS 3
BEGIN ATOMIC
    SELECT there.* FROM tiny_dancer.budget AS there
    WHERE (
        there.scope = 'all'
        OR (there.scope = 'key' AND there.subject = budgets_of.key)
        OR (there.scope = 'user' AND there.subject = budgets_of."user")
        OR (there.scope = 'team' AND there.subject = budgets_of.team)
        OR (there.scope = 'agent' AND there.subject = budgets_of.agent)
        OR (there.scope = 'model' AND there.subject = budgets_of.model)
        OR (there.scope = 'route' AND there.subject = budgets_of.route)
        OR (there.scope = 'project' AND there.subject = budgets_of.project)
        OR (there.scope = 'tag' AND there.subject = ANY (budgets_of.tags))
    )
    AND coalesce(there.starts_at <= moment, true) AND coalesce(moment < there.ends_at, true)
    ORDER BY there.id;
END;

COMMENT ON FUNCTION tiny_dancer.budgets_of(text, text, text, text, text, text, text, text[], double precision) IS
    'the budgets in force that a call falls under';

CREATE FUNCTION tiny_dancer.lock_budget(id text) RETURNS void
    LANGUAGE sql VOLATILE STRICT
BEGIN ATOMIC
    SELECT pg_advisory_xact_lock(hashtextextended(id, 8386936662405899636));
END;

COMMENT ON FUNCTION tiny_dancer.lock_budget(text) IS
    'takes the lock that whoever draws of a budget holds until the transaction ends; Python takes it too';

CREATE FUNCTION tiny_dancer.reserve_budget(
    cost double precision,
    key text DEFAULT NULL,
    "user" text DEFAULT NULL,
    team text DEFAULT NULL,
    agent text DEFAULT NULL,
    model text DEFAULT NULL,
    route text DEFAULT NULL,
    project text DEFAULT NULL,
    tags text[] DEFAULT NULL,
    lease interval DEFAULT '10 minutes',
    OUT hold uuid,
    OUT soft text[]
) RETURNS record
    LANGUAGE plpgsql VOLATILE COST 10000 SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    present double precision := extract(epoch FROM clock_timestamp());
    wanted bigint := tiny_dancer.budget_units('cost', cost);
    -- After it what nobody settled is spent.
    expires double precision := present + tiny_dancer.checked_length('lease', lease);
    name uuid := gen_random_uuid();
    budget tiny_dancer.budget;
    span record;
    ledger record;
    most bigint;
    promised numeric;
BEGIN
    -- What is reserved is reserved, whatever becomes of the server: also where sessions do not wait for its disk.
    IF current_setting('synchronous_commit') = 'off' THEN
        PERFORM set_config('synchronous_commit', 'local', true);
    END IF;
    soft := '{}';
    FOR budget IN
        SELECT * FROM tiny_dancer.budgets_of(key, "user", team, agent, model, route, project, tags, present)
    LOOP
        PERFORM tiny_dancer.lock_budget(budget.id);
        span := tiny_dancer.budget_span(budget.period, budget.created_at, present);
        ledger := tiny_dancer.budget_ledger(budget.id, span.start, span.since);
        -- Deleted while the lock was waited for.
        CONTINUE WHEN ledger.most IS NULL;
        most := round(ledger.most * 1000000000000::double precision);
        promised := coalesce(ledger.drawn, 0) + wanted;
        IF promised > (CASE budget.kind WHEN 'hard' THEN most ELSE 9223372036854775807 END) THEN
            RAISE SQLSTATE 'TD011' USING
                MESSAGE = 'a budget has less left than is asked for',
                DETAIL = format('budget: %s; limit %s USD, left %s, wanted %s', budget.id,
                    trim_scale(most / 1000000000000.0), trim_scale(greatest(most - promised + wanted, 0) / 1000000000000.0),
                    trim_scale(wanted / 1000000000000.0)),
                HINT = coalesce('ask for less, raise it by tiny_dancer.set_budget, or wait until '
                    || to_timestamp(nullif(span.ends_at, 'Infinity')), 'ask for less, or raise it by tiny_dancer.set_budget'),
                COLUMN = 'cost';
        END IF;
        IF budget.kind = 'soft' AND promised > most THEN
            soft := soft || budget.id;
        END IF;
        INSERT INTO tiny_dancer.budget_spending AS there (budget, start, holder, drawn, spent)
            VALUES (budget.id, span.start, 0, wanted, 0)
            ON CONFLICT ON CONSTRAINT budget_spending_pkey DO UPDATE SET drawn = there.drawn + excluded.drawn;
        INSERT INTO tiny_dancer.budget_hold VALUES (
            name, budget.id, span.start, wanted, expires
        );
        hold := name;
        PERFORM tiny_dancer.tidy_budget(budget.id, span.start - 100 * span.length, present);
    END LOOP;
END $$;

COMMENT ON FUNCTION tiny_dancer.reserve_budget(
    double precision, text, text, text, text, text, text, text, text[], interval
) IS 'reserves the most that a call can cost of every budget it falls under, all or nothing (SQLSTATE TD011): a hold, null where '
    'it falls under none; and the soft budgets that are spent';

-- What nobody settled for a day after its lease is spent for good; periods that are long over are forgotten.
CREATE FUNCTION tiny_dancer.tidy_budget(id text, forget bigint, present double precision) RETURNS void
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    lost record;
BEGIN
    FOR lost IN
        WITH gone AS (
            DELETE FROM tiny_dancer.budget_hold AS there
            WHERE there.budget = id AND expires_at < present - 86400 RETURNING there.start, amount
        )
        SELECT gone.start, sum(gone.amount)::bigint AS amount FROM gone GROUP BY gone.start
    LOOP
        UPDATE tiny_dancer.budget_spending AS there SET spent = there.spent + lost.amount
            WHERE there.budget = id AND there.start = lost.start AND there.holder = 0;
    END LOOP;
    DELETE FROM tiny_dancer.budget_spending AS there WHERE there.budget = id AND there.start < forget;
END $$;

COMMENT ON FUNCTION tiny_dancer.tidy_budget(text, bigint, double precision) IS 'forgets what is over; for who holds the budget''s lock';

CREATE FUNCTION tiny_dancer.settle_budget(hold uuid, cost double precision) RETURNS void
    LANGUAGE plpgsql VOLATILE COST 10000 SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    paid bigint := tiny_dancer.budget_units('cost', cost);
    part tiny_dancer.budget_hold;
    settled boolean := false;
BEGIN
    IF hold IS NULL THEN
        -- Of a call that falls under no budget.
        RETURN;
    END IF;
    FOR part IN SELECT * FROM tiny_dancer.budget_hold AS there WHERE there.hold = settle_budget.hold ORDER BY there.budget
    LOOP
        PERFORM tiny_dancer.lock_budget(part.budget);
        DELETE FROM tiny_dancer.budget_hold AS there
            WHERE there.hold = settle_budget.hold AND there.budget = part.budget;
        CONTINUE WHEN NOT FOUND;
        settled := true;
        UPDATE tiny_dancer.budget_spending AS there
            SET drawn = there.drawn - part.amount + paid, spent = there.spent + paid
            WHERE there.budget = part.budget AND there.start = part.start AND there.holder = 0;
    END LOOP;
    IF NOT settled THEN
        RAISE SQLSTATE 'TD012' USING
            MESSAGE = 'there is no such hold', DETAIL = 'hold: ' || hold, COLUMN = 'hold',
            HINT = 'settle or release a hold once, within a day after its lease';
    END IF;
END $$;

COMMENT ON FUNCTION tiny_dancer.settle_budget(uuid, double precision) IS
    'counts what a call did cost, all of it, and lets go of the rest of what was reserved';

CREATE FUNCTION tiny_dancer.release_budget(hold uuid) RETURNS void
    LANGUAGE sql VOLATILE COST 10000
BEGIN ATOMIC
    SELECT tiny_dancer.settle_budget(hold, 0);
END;

COMMENT ON FUNCTION tiny_dancer.release_budget(uuid) IS 'lets go of what was reserved for a call that was not made';

CREATE FUNCTION tiny_dancer.budget_status(
    at timestamptz DEFAULT NULL,
    OUT id text,
    OUT scope text,
    OUT subject text,
    OUT period text,
    OUT kind text,
    OUT usd numeric,
    OUT spent numeric,
    OUT reserved numeric,
    OUT remaining numeric,
    OUT resets_at timestamptz
) RETURNS SETOF record
    LANGUAGE sql STABLE PARALLEL SAFE COST 5000 ROWS 10
BEGIN ATOMIC
    WITH moment (present) AS (SELECT tiny_dancer.checked_time('at', coalesce(at, statement_timestamp())))
    SELECT
        there.id, there.scope, there.subject, there.period, there.kind,
        trim_scale(most.units / 1000000000000.0),
        trim_scale(spent.units / 1000000000000.0),
        trim_scale((drawn.units - spent.units) / 1000000000000.0),
        trim_scale(greatest(most.units - drawn.units, 0) / 1000000000000.0),
        to_timestamp(coalesce(nullif(span.ends_at, 'Infinity'), (drawn.first + 31 * span.length) / 1000.0))
    FROM moment
    CROSS JOIN tiny_dancer.budget AS there
    CROSS JOIN LATERAL tiny_dancer.budget_span(there.period, there.created_at, moment.present) AS span
    CROSS JOIN LATERAL (SELECT round(there.most * 1000000000000::double precision)::numeric) AS most (units)
    CROSS JOIN LATERAL (
        SELECT coalesce(sum(row.drawn), 0), coalesce(sum(row.spent), 0),
            min(row.start) FILTER (WHERE there.period LIKE 'rolling%' AND row.drawn > 0)
        FROM tiny_dancer.budget_spending AS row
        WHERE row.budget = there.id
            AND (row.start = span.start OR (span.since < span.start AND row.start >= span.since))
    ) AS drawn (units, told, first)
    CROSS JOIN LATERAL (
        SELECT drawn.told + coalesce(sum(lost.amount), 0) FROM tiny_dancer.budget_hold AS lost
        WHERE lost.budget = there.id AND lost.expires_at < moment.present
            AND (lost.start = span.start OR (span.since < span.start AND lost.start >= span.since))
    ) AS spent (units)
    WHERE coalesce(there.starts_at <= moment.present, true) AND coalesce(moment.present < there.ends_at, true)
    ORDER BY there.id;
END;

COMMENT ON FUNCTION tiny_dancer.budget_status(timestamptz) IS
    'how the budgets in force stand: USD spent, reserved by calls under way, and remaining; and when money comes back';

CREATE FUNCTION tiny_dancer.budget_remaining(
    key text DEFAULT NULL,
    "user" text DEFAULT NULL,
    team text DEFAULT NULL,
    agent text DEFAULT NULL,
    model text DEFAULT NULL,
    route text DEFAULT NULL,
    project text DEFAULT NULL,
    tags text[] DEFAULT NULL
) RETURNS numeric
    LANGUAGE sql STABLE PARALLEL SAFE COST 5000
BEGIN ATOMIC
    SELECT min(status.remaining)
    FROM tiny_dancer.budget_status() AS status
    JOIN tiny_dancer.budgets_of(key, "user", team, agent, model, route, project, tags,
        extract(epoch FROM statement_timestamp())::double precision) AS applies USING (id)
    WHERE status.kind = 'hard';
END;

COMMENT ON FUNCTION tiny_dancer.budget_remaining(text, text, text, text, text, text, text, text[]) IS
    'USD left of the tightest hard budget that a call falls under, for budget_remaining of tiny_dancer.route; null: none applies';

-- History: what was decided and what came of it, in the tables that Python's analytics reads. Part of
-- tiny_dancer--VERSION.sql, after agents.sql and budgets.sql.

CREATE FUNCTION tiny_dancer.route_recorded(
    request text,
    optimize_for text DEFAULT 'balanced',
    required_capabilities text[] DEFAULT NULL,
    max_cost double precision DEFAULT NULL,
    max_latency_ms double precision DEFAULT NULL,
    min_quality double precision DEFAULT NULL,
    budget_remaining double precision DEFAULT NULL,
    options jsonb DEFAULT NULL,
    keep_text boolean DEFAULT false,
    OUT decision_id text,
    OUT agent_name text,
    OUT confidence double precision,
    OUT estimated_cost double precision,
    OUT estimated_latency double precision,
    OUT expected_quality double precision,
    OUT reason text,
    OUT runner_up text
) RETURNS record
    LANGUAGE plpgsql VOLATILE COST 10000 SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    choice tiny_dancer.agent_choice := tiny_dancer.route(
        request, optimize_for, required_capabilities, max_cost, max_latency_ms, min_quality, budget_remaining, options);
BEGIN
    IF request IS NULL THEN
        RETURN;
    END IF;
    decision_id := gen_random_uuid();
    agent_name := choice.agent_name;
    confidence := choice.confidence;
    estimated_cost := choice.estimated_cost;
    estimated_latency := choice.estimated_latency;
    expected_quality := choice.expected_quality;
    reason := choice.reason;
    runner_up := choice.runner_up;
    INSERT INTO tiny_dancer.routing (
        decision_id, kind, chosen, time, artifact_version, query_hash, query_text, shown, confidence, cost, reason
    ) VALUES (
        decision_id, 'request', agent_name, extract(epoch FROM clock_timestamp()), '', tiny_dancer.query_hash(request),
        CASE WHEN keep_text THEN request END, '[]', confidence, estimated_cost, reason
    );
END $$;

COMMENT ON FUNCTION tiny_dancer.route_recorded(
    text, text, text[], double precision, double precision, double precision, double precision, jsonb, boolean
) IS 'as tiny_dancer.route, and keeps the decision in the table routing; the text only where asked';

CREATE FUNCTION tiny_dancer.record_outcome(
    agent text,
    decision_id text DEFAULT NULL,
    success boolean DEFAULT true,
    quality double precision DEFAULT NULL,
    cost double precision DEFAULT NULL,
    expected_cost double precision DEFAULT NULL,
    latency_ms double precision DEFAULT NULL,
    input_tokens bigint DEFAULT NULL,
    output_tokens bigint DEFAULT NULL,
    task text DEFAULT NULL,
    hold uuid DEFAULT NULL,
    key text DEFAULT '',
    "user" text DEFAULT '',
    team text DEFAULT '',
    project text DEFAULT '',
    route text DEFAULT '',
    tags text[] DEFAULT '{}',
    at timestamptz DEFAULT NULL
) RETURNS text
    LANGUAGE plpgsql VOLATILE COST 20000 SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    request_id text := gen_random_uuid();
    moment double precision := coalesce(tiny_dancer.checked_time('at', at), extract(epoch FROM clock_timestamp()));
    decided record;
    day bigint;
    field text;
    tokens bigint;
BEGIN
    IF success IS NULL THEN
        RAISE null_value_not_allowed USING
            MESSAGE = 'an argument is not valid', DETAIL = 'success: null', COLUMN = 'success',
            HINT = 'say whether the call was answered; tiny_dancer.observe_agent takes what is known later';
    END IF;
    FOR field, tokens IN VALUES
        ('input_tokens', record_outcome.input_tokens), ('output_tokens', record_outcome.output_tokens)
    LOOP
        IF tokens NOT BETWEEN 0 AND 1099511627776 THEN
            RAISE numeric_value_out_of_range USING
                MESSAGE = 'an argument is not valid', DETAIL = field || ': ' || tokens, COLUMN = field,
                HINT = 'give a number from 0 to 1099511627776, or null where nobody knows';
        END IF;
    END LOOP;
    IF EXISTS (SELECT FROM unnest(record_outcome.tags) AS tag WHERE tag IS NULL) THEN
        RAISE null_value_not_allowed USING
            MESSAGE = 'an argument is not valid', DETAIL = 'tags: a null among them', COLUMN = 'tags',
            HINT = 'give texts';
    END IF;
    IF decision_id IS NOT NULL THEN
        PERFORM tiny_dancer.checked_name('decision_id', record_outcome.decision_id);
    END IF;
    day := floor(moment / 86400);
    IF hold IS NOT NULL THEN
        -- Of a call whose cost nobody knows, all that was reserved may have been spent.
        PERFORM tiny_dancer.settle_budget(record_outcome.hold, coalesce(
            record_outcome.cost,
            (SELECT max(amount) / 1000000000000::double precision FROM tiny_dancer.budget_hold AS there WHERE there.hold = record_outcome.hold),
            0));
    END IF;
    SELECT * INTO decided FROM tiny_dancer.routing AS there WHERE there.decision_id = record_outcome.decision_id;
    PERFORM tiny_dancer.observe_agent(
        record_outcome.agent, record_outcome.quality, success, task, record_outcome.cost,
        coalesce(record_outcome.expected_cost, decided.cost), latency_ms, record_outcome.output_tokens, to_timestamp(moment));
    INSERT INTO tiny_dancer.request (
        id, time, endpoint, key, asked, status, model, upstream, response_id, decision_id, router, routed_by, reason, level,
        confidence, scores, role, session, stream, attempts, fallbacks, input_tokens, output_tokens, cached_tokens, cost,
        baseline_cost, latency, ttft, error, query_hash, query_text, artifact_version, variant, guessed, guessed_cost,
        tool_selection, tools_before, tools_sent, tool_tokens_saved, tool_searches, hops, "user", team, project, tags, agent,
        route, guarantee, agents_failed, removed
    ) VALUES (
        request_id, moment, 'sql', coalesce(record_outcome.key, ''), record_outcome.agent,
        CASE WHEN success THEN 200 ELSE 502 END, '', '', NULL, record_outcome.decision_id, '',
        CASE WHEN decided.chosen IS NULL THEN 'client' ELSE 'learned' END, coalesce(decided.reason, ''), 0,
        decided.confidence, NULL, 'chat', '', false, 1, 0, coalesce(record_outcome.input_tokens, 0),
        coalesce(record_outcome.output_tokens, 0), 0, record_outcome.cost, NULL, coalesce(latency_ms / 1000, 0), NULL,
        CASE WHEN success THEN '' ELSE 'agent_failed' END, decided.query_hash, NULL, '', '', false, 0, '', 0, 0, 0, 0, '',
        coalesce(record_outcome."user", ''), coalesce(record_outcome.team, ''), coalesce(record_outcome.project, ''),
        coalesce(record_outcome.tags, '{}'), record_outcome.agent,
        coalesce(record_outcome.route, ''), '',
        CASE WHEN success THEN '{}' ELSE ARRAY[record_outcome.agent] END, '{}'
    );
    -- What budgets of keys are measured by, as every writer of requests sums it up.
    INSERT INTO tiny_dancer.spend AS there (day, key, model, cost, tokens, requests) VALUES (
        day, coalesce(record_outcome.key, ''), '', coalesce(least(record_outcome.cost, 1e290), 0),
        coalesce(record_outcome.input_tokens, 0) + coalesce(record_outcome.output_tokens, 0), 1
    ) ON CONFLICT (
        day, hashtextextended(key, 0), hashtextextended(key, 1), hashtextextended(model, 0), hashtextextended(model, 1)
    ) DO UPDATE SET cost = least(there.cost + excluded.cost, 1e300), tokens = there.tokens + excluded.tokens,
        requests = there.requests + excluded.requests;
    IF record_outcome.quality IS NOT NULL THEN
        INSERT INTO tiny_dancer.feedback AS there (decision_id, candidate_id, score, time)
            VALUES (coalesce(record_outcome.decision_id, request_id), '', record_outcome.quality, moment)
            ON CONFLICT (decision_id, candidate_id) DO UPDATE SET score = excluded.score, time = excluded.time;
    END IF;
    RETURN request_id;
END $$;

COMMENT ON FUNCTION tiny_dancer.record_outcome(
    text, text, boolean, double precision, double precision, double precision, double precision, bigint, bigint, text, uuid,
    text, text, text, text, text, text[], timestamptz
) IS 'what came of one call of an agent: a request for analytics, feedback where the quality is known, the agent''s sums, and its '
    'hold settled; gives the request''s id';

CREATE FUNCTION tiny_dancer.routing_analytics(
    time_range interval DEFAULT '7 days',
    group_by text DEFAULT 'agent',
    OUT "group" text,
    OUT total_requests bigint,
    OUT total_cost double precision,
    OUT avg_latency double precision,
    OUT success_rate double precision,
    OUT total_tokens bigint,
    OUT score double precision
) RETURNS SETOF record
    LANGUAGE plpgsql STABLE PARALLEL SAFE COST 100000 ROWS 10 SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    since double precision := extract(epoch FROM statement_timestamp()) - tiny_dancer.checked_length('time_range', time_range);
BEGIN
    IF group_by IS NULL OR group_by NOT IN (
        'agent', 'model', 'upstream', 'endpoint', 'key', 'router', 'routed_by', 'variant', 'role', 'status', 'route', 'user',
        'team', 'project', 'day', 'hour'
    ) THEN
        RAISE invalid_parameter_value USING
            MESSAGE = 'an argument is not valid', DETAIL = 'group_by: ' || coalesce(group_by, 'null'), COLUMN = 'group_by',
            HINT = 'use agent, model, upstream, endpoint, key, router, routed_by, variant, role, status, route, user, team, '
                'project, day or hour';
    END IF;
    RETURN QUERY
    WITH part AS (
        SELECT
            CASE group_by
                WHEN 'agent' THEN agent WHEN 'model' THEN model WHEN 'upstream' THEN upstream WHEN 'endpoint' THEN endpoint
                WHEN 'key' THEN key WHEN 'router' THEN router WHEN 'routed_by' THEN routed_by WHEN 'variant' THEN variant
                WHEN 'role' THEN role WHEN 'status' THEN status::text WHEN 'route' THEN route WHEN 'user' THEN "user"
                WHEN 'team' THEN team WHEN 'project' THEN project
                WHEN 'day' THEN to_char(to_timestamp(request.time) AT TIME ZONE 'UTC', 'YYYY-MM-DD')
                ELSE to_char(to_timestamp(request.time) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:00"Z"')
            END AS name,
            1::double precision AS requests, coalesce(cost, 0) AS cost, latency,
            (status >= 400 OR error <> '')::integer::double precision AS errors,
            (input_tokens + output_tokens)::double precision AS tokens,
            feedback.score AS score, (feedback.score IS NOT NULL)::integer::double precision AS judged
        FROM tiny_dancer.request
        LEFT JOIN tiny_dancer.feedback
            ON feedback.decision_id = coalesce(request.decision_id, request.id) AND feedback.candidate_id = ''
        WHERE request.time >= since
        UNION ALL
        -- Of requests that retention has removed: what they came to, where all of them lie in the span.
        SELECT
            CASE group_by
                WHEN 'agent' THEN agent WHEN 'model' THEN model WHEN 'upstream' THEN upstream WHEN 'endpoint' THEN endpoint
                WHEN 'key' THEN key WHEN 'router' THEN router WHEN 'routed_by' THEN routed_by WHEN 'variant' THEN variant
                WHEN 'role' THEN role WHEN 'status' THEN status::text WHEN 'route' THEN route
                WHEN 'team' THEN team WHEN 'project' THEN project
                WHEN 'day' THEN to_char(to_timestamp(day * 86400) AT TIME ZONE 'UTC', 'YYYY-MM-DD')
            END,
            requests, cost + other_cost, latency, errors, input_tokens + output_tokens, score, feedback
        FROM tiny_dancer.request_sums WHERE first >= since
    )
    SELECT
        name, sum(requests)::bigint, sum(cost), 1000 * sum(latency) / sum(requests), 1 - sum(errors) / sum(requests),
        sum(tokens)::bigint, sum(part.score) / nullif(sum(judged), 0)
    FROM part GROUP BY name ORDER BY 3 DESC, name COLLATE "C";
END $$;

COMMENT ON FUNCTION tiny_dancer.routing_analytics(interval, text) IS
    'what the requests of the last time came to, by group, the dearest first: as request_summary in Python';

CREATE FUNCTION tiny_dancer.allocate_budget(
    tokens jsonb,
    monthly_budget double precision,
    quality_threshold double precision,
    latency_threshold_ms double precision,
    requests_a_month double precision,
    OUT agent_name text,
    OUT share double precision,
    OUT monthly_requests double precision,
    OUT allocated_budget double precision,
    OUT expected_quality double precision,
    OUT expected_latency double precision,
    OUT mean_quality double precision,
    OUT total_cost double precision,
    OUT sufficient boolean
) RETURNS SETOF record
    LANGUAGE plpython3u STABLE COST 1000000 ROWS 10 AS $python$
from tiny_dancer.sql.plpython import call
return call(plpy, "allocate_budget", tokens, monthly_budget, quality_threshold, latency_threshold_ms, requests_a_month)
$python$;

COMMENT ON FUNCTION tiny_dancer.allocate_budget(
    jsonb, double precision, double precision, double precision, double precision
) IS 'a month''s budget given to agents, for requests of these tokens: [[prompt, answer, requests], ...]';

CREATE FUNCTION tiny_dancer.optimize_budget(
    monthly_budget double precision,
    quality_threshold double precision DEFAULT NULL,
    latency_threshold_ms double precision DEFAULT NULL,
    look_back interval DEFAULT '30 days',
    OUT agent_name text,
    OUT share double precision,
    OUT monthly_requests double precision,
    OUT allocated_budget double precision,
    OUT expected_quality double precision,
    OUT expected_latency double precision,
    OUT mean_quality double precision,
    OUT total_cost double precision,
    OUT sufficient boolean
) RETURNS SETOF record
    LANGUAGE plpgsql STABLE COST 1000000 ROWS 10 SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    present double precision := extract(epoch FROM statement_timestamp());
    since double precision := present - tiny_dancer.checked_length('look_back', look_back);
    asked record;
BEGIN
    IF monthly_budget IS NULL THEN
        RAISE null_value_not_allowed USING
            MESSAGE = 'an argument is not valid', DETAIL = 'monthly_budget: null', HINT = 'give USD, 0 or more',
            COLUMN = 'monthly_budget';
    END IF;
    SELECT jsonb_agg(jsonb_build_array(input_tokens, output_tokens, requests)) AS tokens, sum(requests) AS requests,
        min(first) AS first
    INTO asked
    FROM (
        SELECT input_tokens, output_tokens, count(*) AS requests, min(time) AS first
        FROM (
            SELECT input_tokens, output_tokens, time FROM tiny_dancer.request
            WHERE time >= since AND time <= present AND status < 400 AND error = ''
                AND endpoint IN ('sql', 'chat.completions', 'completions', 'responses', 'messages')
            ORDER BY time DESC LIMIT 100000
        ) AS newest
        GROUP BY input_tokens, output_tokens
    ) AS alike;
    IF asked.tokens IS NULL THEN
        RAISE SQLSTATE 'TD013' USING
            MESSAGE = 'there are no requests to plan by', DETAIL = 'look_back: ' || look_back,
            HINT = 'record some first by tiny_dancer.record_outcome, look further back, or say what to expect: '
                'tiny_dancer.allocate_budget';
    END IF;
    RETURN QUERY SELECT * FROM tiny_dancer.allocate_budget(
        asked.tokens, monthly_budget, quality_threshold, latency_threshold_ms,
        -- As many a second as since the first of them, over a month.
        (asked.requests / greatest(present - asked.first, 3600) * 86400 * 365.2425 / 12)::double precision
    );
END $$;

COMMENT ON FUNCTION tiny_dancer.optimize_budget(double precision, double precision, double precision, interval) IS
    'how a month''s budget is best given to agents, for requests like those of late: the highest mean quality it pays for. '
    'Intervals are Python''s: tiny_dancer.spending.optimize_budget over the same tables';

-- The names that users of ruvector's routing call, with their arguments, over the functions of this extension. Part of
-- tiny_dancer--VERSION.sql.

CREATE FUNCTION tiny_dancer.ruvector_register_agent(
    name text,
    agent_type text DEFAULT 'llm',
    capabilities text[] DEFAULT '{}',
    cost_per_1k_tokens double precision DEFAULT NULL,
    cost_per_call double precision DEFAULT NULL,
    avg_latency_ms double precision DEFAULT NULL,
    quality_score double precision DEFAULT NULL,
    metadata jsonb DEFAULT NULL
) RETURNS boolean
    LANGUAGE sql VOLATILE COST 5000
BEGIN ATOMIC
    SELECT tiny_dancer.register_agent(name, agent_type, capabilities, cost_per_1k_tokens, cost_per_call, avg_latency_ms,
        quality_score, metadata);
END;

COMMENT ON FUNCTION tiny_dancer.ruvector_register_agent(
    text, text, text[], double precision, double precision, double precision, double precision, jsonb
) IS 'tiny_dancer.register_agent';

CREATE FUNCTION tiny_dancer.ruvector_list_agents(
    OUT name text,
    OUT agent_type text,
    OUT capabilities text[],
    OUT cost_per_1k_tokens double precision,
    OUT cost_per_call double precision,
    OUT avg_latency_ms double precision,
    OUT quality_score double precision,
    OUT success_rate double precision,
    OUT total_requests bigint,
    OUT is_active boolean,
    OUT metadata jsonb
) RETURNS SETOF record
    LANGUAGE sql STABLE PARALLEL SAFE COST 1000 ROWS 10
BEGIN ATOMIC
    SELECT * FROM tiny_dancer.list_agents();
END;

COMMENT ON FUNCTION tiny_dancer.ruvector_list_agents() IS 'tiny_dancer.list_agents';

CREATE FUNCTION tiny_dancer.ruvector_route(
    request text,
    optimize_for text DEFAULT 'balanced',
    required_capabilities text[] DEFAULT NULL,
    max_cost double precision DEFAULT NULL,
    max_latency_ms double precision DEFAULT NULL,
    min_quality double precision DEFAULT NULL,
    budget_remaining double precision DEFAULT NULL
) RETURNS tiny_dancer.agent_choice
    LANGUAGE sql STABLE COST 500
    RETURN tiny_dancer.route(request, optimize_for, required_capabilities, max_cost, max_latency_ms, min_quality,
        budget_remaining);

COMMENT ON FUNCTION tiny_dancer.ruvector_route(
    text, text, text[], double precision, double precision, double precision, double precision
) IS 'tiny_dancer.route';

CREATE FUNCTION tiny_dancer.ruvector_route_multi(
    request text,
    num_agents integer DEFAULT 3,
    strategy text DEFAULT 'pipeline',
    OUT step integer,
    OUT agent_name text,
    OUT confidence double precision,
    OUT estimated_cost double precision,
    OUT estimated_latency double precision,
    OUT capabilities text[],
    OUT reason text
) RETURNS SETOF record
    LANGUAGE sql STABLE COST 10000 ROWS 3
BEGIN ATOMIC
    SELECT step, agent_name, expected_quality, estimated_cost, estimated_latency, capabilities, reason
    FROM tiny_dancer.route_multi(request, num_agents := num_agents, strategy := strategy);
END;

COMMENT ON FUNCTION tiny_dancer.ruvector_route_multi(text, integer, text) IS
    'tiny_dancer.route_multi; the confidence of a step is the quality expected of its agent there';

CREATE FUNCTION tiny_dancer.ruvector_create_route(
    name text,
    description text,
    embedding anycompatible DEFAULT NULL::real[],
    target_agent text DEFAULT NULL,
    priority integer DEFAULT 0
) RETURNS boolean
    LANGUAGE plpgsql VOLATILE COST 5000 SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN tiny_dancer.create_route(name, description, embedding, target_agent, priority);
END $$;

COMMENT ON FUNCTION tiny_dancer.ruvector_create_route(text, text, anycompatible, text, integer) IS 'tiny_dancer.create_route';

CREATE FUNCTION tiny_dancer.ruvector_embed(text text) RETURNS real[]
    LANGUAGE sql STABLE STRICT COST 1000
    RETURN tiny_dancer.embed(text);

COMMENT ON FUNCTION tiny_dancer.ruvector_embed(text) IS 'tiny_dancer.embed';

CREATE FUNCTION tiny_dancer.ruvector_semantic_route(
    query text,
    top_k integer DEFAULT 3,
    OUT route_name text,
    OUT similarity double precision,
    OUT target_agent text,
    OUT confidence double precision
) RETURNS SETOF record
    LANGUAGE sql STABLE COST 3000 ROWS 3
BEGIN ATOMIC
    SELECT route_name, similarity, target_agent, confidence FROM tiny_dancer.semantic_route(query, top_k);
END;

COMMENT ON FUNCTION tiny_dancer.ruvector_semantic_route(text, integer) IS 'tiny_dancer.semantic_route';

CREATE FUNCTION tiny_dancer.ruvector_routing_analytics(
    time_range text DEFAULT '7 days',
    group_by text DEFAULT 'agent',
    OUT agent text,
    OUT total_requests bigint,
    OUT total_cost double precision,
    OUT avg_latency double precision,
    OUT success_rate double precision
) RETURNS SETOF record
    LANGUAGE sql STABLE COST 100000 ROWS 10
BEGIN ATOMIC
    SELECT "group", total_requests, total_cost, avg_latency, success_rate
    FROM tiny_dancer.routing_analytics(tiny_dancer.interval_of('time_range', time_range), group_by);
END;

COMMENT ON FUNCTION tiny_dancer.ruvector_routing_analytics(text, text) IS 'tiny_dancer.routing_analytics';

CREATE FUNCTION tiny_dancer.ruvector_optimize_budget(
    monthly_budget double precision,
    quality_threshold double precision DEFAULT 0.8,
    latency_threshold_ms double precision DEFAULT 5000,
    OUT agent_name text,
    OUT allocated_budget double precision,
    OUT share double precision,
    OUT monthly_requests double precision,
    OUT expected_quality double precision,
    OUT expected_latency double precision,
    OUT sufficient boolean
) RETURNS SETOF record
    LANGUAGE sql STABLE COST 1000000 ROWS 10
BEGIN ATOMIC
    SELECT agent_name, allocated_budget, share, monthly_requests, expected_quality, expected_latency, sufficient
    FROM tiny_dancer.optimize_budget(monthly_budget, quality_threshold, latency_threshold_ms);
END;

COMMENT ON FUNCTION tiny_dancer.ruvector_optimize_budget(double precision, double precision, double precision) IS
    'tiny_dancer.optimize_budget';

CREATE FUNCTION tiny_dancer.ruvector_batch_route(
    requests text[],
    optimize_for text DEFAULT 'total_cost',
    OUT request_index integer,
    OUT request text,
    OUT agent_name text,
    OUT confidence double precision,
    OUT estimated_cost double precision,
    OUT estimated_latency double precision
) RETURNS SETOF record
    LANGUAGE sql STABLE COST 50000 ROWS 100
BEGIN ATOMIC
    SELECT request_index, request, agent_name, expected_quality, estimated_cost, estimated_latency
    FROM tiny_dancer.batch_route(requests, optimize_for);
END;

COMMENT ON FUNCTION tiny_dancer.ruvector_batch_route(text[], text) IS
    'tiny_dancer.batch_route; the confidence is the quality expected of the agent';

CREATE FUNCTION tiny_dancer.ruvector_classify_request(text text) RETURNS jsonb
    LANGUAGE sql STABLE STRICT COST 3000
    RETURN tiny_dancer.classify_request(text)::jsonb;

COMMENT ON FUNCTION tiny_dancer.ruvector_classify_request(text) IS 'tiny_dancer.classify_request';

GRANT SELECT ON tiny_dancer.artifacts TO PUBLIC;
COMMIT;
