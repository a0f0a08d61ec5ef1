-- Candidates: which of many are worth passing on. Part of tiny_dancer--VERSION.sql.

CREATE FUNCTION tiny_dancer.rank(
    query text,
    ids text[],
    texts text[] DEFAULT NULL,
    embeddings "any" DEFAULT NULL::real[],
    embedding anycompatible DEFAULT NULL::real[],
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
    LANGUAGE c STABLE PARALLEL SAFE COST 100000 ROWS 5 AS 'MODULE_PATHNAME', 'rank_wrapper';
COMMENT ON FUNCTION tiny_dancer.rank(text, text[], text[], "any", anycompatible, jsonb, text) IS
    'the candidates for a query, best first; those that could take no part come last, with the reason';
