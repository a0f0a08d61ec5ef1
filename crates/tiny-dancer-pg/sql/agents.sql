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
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE COST 500 AS 'MODULE_PATHNAME', 'checked_agent_wrapper';
COMMENT ON FUNCTION tiny_dancer.checked_agent(json) IS
    'all fields of an agent, checked: {"name": …, "quality": 0.7, "cost_per_call": 0.001, …}';

CREATE FUNCTION tiny_dancer.check_agents() RETURNS void
    LANGUAGE c VOLATILE PARALLEL SAFE COST 1000 AS 'MODULE_PATHNAME', 'check_agents_wrapper';
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
    LANGUAGE c IMMUTABLE PARALLEL SAFE COST 500 AS 'MODULE_PATHNAME', 'agent_state_after_wrapper';
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
    LANGUAGE c STABLE PARALLEL SAFE COST 500 AS 'MODULE_PATHNAME', 'route_wrapper';
COMMENT ON FUNCTION tiny_dancer.route(
    text, text, text[], double precision, double precision, double precision, double precision, jsonb
) IS 'the agent for a request; SQLSTATE TD008, with what removed whom, where none is left';

CREATE FUNCTION tiny_dancer.compare_agents(
    request text,
    optimize_for text DEFAULT 'balanced',
    required_capabilities text[] DEFAULT NULL,
    max_cost double precision DEFAULT NULL,
    max_latency_ms double precision DEFAULT NULL,
    min_quality double precision DEFAULT NULL,
    budget_remaining double precision DEFAULT NULL,
    options jsonb DEFAULT NULL,
    OUT agent_name text,
    OUT expected_quality double precision,
    OUT quality_low double precision,
    OUT quality_high double precision,
    OUT estimated_cost double precision,
    OUT cost_low double precision,
    OUT cost_high double precision,
    OUT estimated_latency double precision,
    OUT utility double precision,
    OUT removed_by text
) RETURNS SETOF record
    LANGUAGE c STABLE PARALLEL SAFE COST 5000 ROWS 10 AS 'MODULE_PATHNAME', 'compare_agents_wrapper';
COMMENT ON FUNCTION tiny_dancer.compare_agents(
    text, text, text[], double precision, double precision, double precision, double precision, jsonb
) IS 'what is expected of every agent on a request, and what removes it; never an error because none is left';

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
    LANGUAGE c STABLE PARALLEL SAFE COST 10000 ROWS 3 AS 'MODULE_PATHNAME', 'route_multi_wrapper';
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
    LANGUAGE c STABLE PARALLEL SAFE COST 50000 ROWS 100 AS 'MODULE_PATHNAME', 'batch_route_wrapper';
COMMENT ON FUNCTION tiny_dancer.batch_route(
    text[], text, text[], double precision, double precision, double precision, double precision, jsonb, double precision,
    jsonb
) IS 'agents for a batch: as a whole at the least total cost, or the best for a budget; or one by one by another policy';

CREATE FUNCTION tiny_dancer.choose_agent(query json) RETURNS json
    LANGUAGE c STABLE STRICT PARALLEL SAFE COST 1000 AS 'MODULE_PATHNAME', 'choose_agent_wrapper';
COMMENT ON FUNCTION tiny_dancer.choose_agent(json) IS
    'the engine''s door: a query in JSON, and its whole answer, with intervals and what removed whom';

CREATE FUNCTION tiny_dancer.choose_among(agents text, query text, half_life double precision DEFAULT 2592000) RETURNS text
    LANGUAGE c IMMUTABLE PARALLEL SAFE COST 5000 AS 'MODULE_PATHNAME', 'choose_among_wrapper';
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
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE COST 100 AS 'MODULE_PATHNAME', 'direction_wrapper';
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
            HINT = 'give it another name, or put it in the other''s place: tiny_dancer.create_route(…, replace := true)';
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
    LANGUAGE c STABLE PARALLEL SAFE COST 1000 ROWS 3 AS 'MODULE_PATHNAME', 'semantic_route_wrapper';
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
    LANGUAGE sql STABLE PARALLEL SAFE COST 3000 ROWS 3
BEGIN ATOMIC
    SELECT * FROM tiny_dancer.semantic_route(tiny_dancer.embed(query), top_k);
END;
COMMENT ON FUNCTION tiny_dancer.semantic_route(text, integer) IS 'the same for a text';

-- Kinds of tasks ------------------------------------------------------------------------------------------------------

CREATE FUNCTION tiny_dancer.classify_request(request text, artifact text DEFAULT 'tasks') RETURNS json
    LANGUAGE c STABLE PARALLEL SAFE COST 3000 AS 'MODULE_PATHNAME', 'classify_request_wrapper';
COMMENT ON FUNCTION tiny_dancer.classify_request(text, text) IS
    'the kind of task a request is: categories with probabilities, likeliest first, the top one, and what the task takes';
