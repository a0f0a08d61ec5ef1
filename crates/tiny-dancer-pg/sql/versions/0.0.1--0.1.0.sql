-- What changes in the part models.sql from 0.0.1 to 0.1.0: artifacts say which encoder they need, so that
-- encoders may be in the table, too. All other parts of 0.1.0 are new, and stand around this one in
-- tiny_dancer--0.0.1--0.1.0.sql.
ALTER TABLE tiny_dancer.artifacts ADD COLUMN encoder text;
UPDATE tiny_dancer.artifacts AS present SET encoder = found.encoder
FROM tiny_dancer.artifacts AS each, tiny_dancer.examine_artifact(each.bytes) AS found
WHERE each.name OPERATOR(pg_catalog.=) present.name AND found.encoder IS NOT NULL;
CREATE INDEX artifacts_encoder ON tiny_dancer.artifacts (encoder) WHERE kind = 'encoder';

CREATE OR REPLACE FUNCTION tiny_dancer.load_artifact(name text, bytes bytea, models jsonb DEFAULT NULL) RETURNS text
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
CREATE FUNCTION tiny_dancer.decide(request jsonb, options jsonb DEFAULT NULL, artifact text DEFAULT NULL)
    RETURNS tiny_dancer.decision
    LANGUAGE c STABLE PARALLEL SAFE COST 2500 AS 'MODULE_PATHNAME', 'decide_body_wrapper';
COMMENT ON FUNCTION tiny_dancer.decide(jsonb, jsonb, text) IS
    'as the other, for what a client sends: messages in any dialect, or the body of a call';
