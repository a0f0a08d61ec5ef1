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
    LANGUAGE sql STABLE PARALLEL SAFE COST 500
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
    LANGUAGE sql STABLE PARALLEL SAFE COST 10000 ROWS 3
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
    LANGUAGE sql STABLE STRICT PARALLEL SAFE COST 1000
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
    LANGUAGE sql STABLE PARALLEL SAFE COST 3000 ROWS 3
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
    LANGUAGE sql STABLE PARALLEL SAFE COST 1000000 ROWS 10
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
    LANGUAGE sql STABLE PARALLEL SAFE COST 50000 ROWS 100
BEGIN ATOMIC
    SELECT request_index, request, agent_name, expected_quality, estimated_cost, estimated_latency
    FROM tiny_dancer.batch_route(requests, optimize_for);
END;
COMMENT ON FUNCTION tiny_dancer.ruvector_batch_route(text[], text) IS
    'tiny_dancer.batch_route; the confidence is the quality expected of the agent';

CREATE FUNCTION tiny_dancer.ruvector_classify_request(text text) RETURNS jsonb
    LANGUAGE sql STABLE STRICT PARALLEL SAFE COST 3000
    RETURN tiny_dancer.classify_request(text)::jsonb;
COMMENT ON FUNCTION tiny_dancer.ruvector_classify_request(text) IS 'tiny_dancer.classify_request';
