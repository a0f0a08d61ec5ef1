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
SELECT pg_catalog.pg_extension_config_dump('tiny_dancer.artifacts', '');

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
    LANGUAGE c STABLE PARALLEL SAFE COST 100000 AS 'MODULE_PATHNAME', 'examine_artifact_wrapper';
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

-- Requests → models --------------------------------------------------------------------------------------------------

CREATE FUNCTION tiny_dancer.decide(request text, options jsonb DEFAULT NULL, artifact text DEFAULT NULL)
    RETURNS tiny_dancer.decision
    LANGUAGE c STABLE PARALLEL SAFE COST 2000 AS 'MODULE_PATHNAME', 'decide_wrapper';
COMMENT ON FUNCTION tiny_dancer.decide(text, jsonb, text) IS
    'the model for a text, with everything that is to be said of the decision';

CREATE FUNCTION tiny_dancer.decide(request jsonb, options jsonb DEFAULT NULL, artifact text DEFAULT NULL)
    RETURNS tiny_dancer.decision
    LANGUAGE c STABLE PARALLEL SAFE COST 2500 AS 'MODULE_PATHNAME', 'decide_body_wrapper';
COMMENT ON FUNCTION tiny_dancer.decide(jsonb, jsonb, text) IS
    'as the other, for what a client sends: messages in any dialect, or the body of a call';

CREATE FUNCTION tiny_dancer.decide_model(request text, options jsonb DEFAULT NULL, artifact text DEFAULT NULL)
    RETURNS text
    LANGUAGE c STABLE PARALLEL SAFE COST 1500 AS 'MODULE_PATHNAME', 'decide_model_wrapper';
COMMENT ON FUNCTION tiny_dancer.decide_model(text, jsonb, text) IS 'the name of the model for a text, and nothing else';
