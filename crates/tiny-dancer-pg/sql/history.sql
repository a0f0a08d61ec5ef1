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
    LANGUAGE c STABLE PARALLEL SAFE COST 1000000 ROWS 10 AS 'MODULE_PATHNAME', 'allocate_budget_wrapper';
COMMENT ON FUNCTION tiny_dancer.allocate_budget(
    jsonb, double precision, double precision, double precision, double precision
) IS 'a month''s budget given to agents, for requests of these tokens: [[prompt, answer, requests], …]';

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
    LANGUAGE plpgsql STABLE PARALLEL SAFE COST 1000000 ROWS 10 SET search_path = pg_catalog, pg_temp AS $$
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
