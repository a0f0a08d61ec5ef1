-- Many requests at once, decisions that stay, and the engine's doors. Part of tiny_dancer--VERSION.sql.

CREATE FUNCTION tiny_dancer.decide_many(requests text[], options jsonb DEFAULT NULL, artifact text DEFAULT NULL)
    RETURNS SETOF tiny_dancer.decision
    LANGUAGE c STABLE PARALLEL SAFE COST 200000 ROWS 100 AS 'MODULE_PATHNAME', 'decide_many_wrapper';
COMMENT ON FUNCTION tiny_dancer.decide_many(text[], jsonb, text) IS
    'the models for many texts, in their order; a null has a row of nulls';

-- The same for ever, as the checksum names the bytes: for indexes and generated columns.
CREATE FUNCTION tiny_dancer.decide_by(checksum text, request text, options jsonb DEFAULT NULL) RETURNS text
    LANGUAGE c IMMUTABLE PARALLEL SAFE COST 1500 AS 'MODULE_PATHNAME', 'decide_by_wrapper';
COMMENT ON FUNCTION tiny_dancer.decide_by(text, text, jsonb) IS
    'the name of the model for a text, by the artifact of a checksum';

-- The engine's doors: JSON as text in, and what the engine answers, byte for byte ---------------------------------------

CREATE FUNCTION tiny_dancer.decide_json(request text, options text DEFAULT '', artifact text DEFAULT NULL) RETURNS json
    LANGUAGE c STABLE PARALLEL SAFE COST 2500 AS 'MODULE_PATHNAME', 'decide_json_wrapper';
COMMENT ON FUNCTION tiny_dancer.decide_json(text, text, text) IS 'request and options as JSON, decided; the answer of the engine';

CREATE FUNCTION tiny_dancer.route_json(request text, options text, artifact text) RETURNS json
    LANGUAGE c STABLE PARALLEL SAFE COST 3000 AS 'MODULE_PATHNAME', 'route_json_wrapper';
COMMENT ON FUNCTION tiny_dancer.route_json(text, text, text) IS '{"text": …} and options as JSON → the route that an artifact of routes gives it, or none';

CREATE FUNCTION tiny_dancer.classify_json(request text, artifact text DEFAULT 'tasks') RETURNS json
    LANGUAGE c STABLE PARALLEL SAFE COST 3000 AS 'MODULE_PATHNAME', 'classify_json_wrapper';
COMMENT ON FUNCTION tiny_dancer.classify_json(text, text) IS '{"text": …} → what kind of task it is, and what it takes';

CREATE FUNCTION tiny_dancer.select_tools_json(tools text[], query text, artifact text DEFAULT NULL,
                                              encoder text DEFAULT NULL) RETURNS json
    LANGUAGE c STABLE PARALLEL SAFE COST 100000 AS 'MODULE_PATHNAME', 'select_tools_json_wrapper';
COMMENT ON FUNCTION tiny_dancer.select_tools_json(text[], text, text, text) IS 'lists of tools and a query as JSON → the tools it needs';

CREATE FUNCTION tiny_dancer.tool_ids(tools text[]) RETURNS text[]
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE COST 10000 AS 'MODULE_PATHNAME', 'tool_ids_wrapper';
COMMENT ON FUNCTION tiny_dancer.tool_ids(text[]) IS 'the ids by which tools are answered, in their order';

CREATE FUNCTION tiny_dancer.rank_json(candidates text, query text, artifact text DEFAULT NULL,
                                      encoder text DEFAULT NULL) RETURNS json
    LANGUAGE c STABLE PARALLEL SAFE COST 100000 AS 'MODULE_PATHNAME', 'rank_json_wrapper';
COMMENT ON FUNCTION tiny_dancer.rank_json(text, text, text, text) IS 'candidates and a query as JSON → the candidates, best first, with their features';

CREATE FUNCTION tiny_dancer.embed(text text, encoder text DEFAULT 'sentences') RETURNS real[]
    LANGUAGE c STABLE PARALLEL SAFE COST 1000 AS 'MODULE_PATHNAME', 'embed_wrapper';
COMMENT ON FUNCTION tiny_dancer.embed(text, text) IS 'the text as a vector of 256 numbers, of length 1';

CREATE FUNCTION tiny_dancer.query_hash(request text) RETURNS text
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE COST 20 AS 'MODULE_PATHNAME', 'query_hash_wrapper';
COMMENT ON FUNCTION tiny_dancer.query_hash(text) IS
    'BLAKE2b-128 of a text in hexadecimal, as the package keeps it: tells repeated requests apart without their texts';
