-- First of all: what stands in the way, said by name.
\echo Use "CREATE EXTENSION tiny_dancer" to load this file. \quit
DO $$
BEGIN
    IF pg_catalog.to_regclass('tiny_dancer.migration') IS NOT NULL THEN
        RAISE object_not_in_prerequisite_state USING
            MESSAGE = 'the tables of the storage are there already, made without the extension',
            DETAIL = 'schema: tiny_dancer',
            HINT = 'tiny-dancer db backup postgresql://… copy.db; ALTER SCHEMA tiny_dancer RENAME TO before; create the extension;'
                ' tiny-dancer db restore postgresql://… copy.db';
    END IF;
END $$;

