-- Rights, last of all. The tables are the superuser's where an owner of the database makes the extension: what that owner
-- may do with them is granted here. Who else may, the owner grants: first of all USAGE ON SCHEMA tiny_dancer.
-- All rights to sequences, as a dump that the owner restores sets them.
-- Where a superuser makes it, as one who restores a dump does, the owner of the database is granted the same.
GRANT SELECT ON tiny_dancer.artifacts TO PUBLIC;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA tiny_dancer TO @extowner@ WITH GRANT OPTION;
GRANT ALL ON ALL SEQUENCES IN SCHEMA tiny_dancer TO @extowner@ WITH GRANT OPTION;
DO $$
DECLARE
    owner text := (
        SELECT pg_catalog.pg_get_userbyid(datdba) FROM pg_catalog.pg_database
        WHERE datname OPERATOR(pg_catalog.=) pg_catalog.current_database()
    );
BEGIN
    EXECUTE pg_catalog.format('GRANT USAGE ON SCHEMA tiny_dancer TO %I WITH GRANT OPTION', owner);
    EXECUTE pg_catalog.format(
        'GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA tiny_dancer TO %I WITH GRANT OPTION', owner
    );
    EXECUTE pg_catalog.format(
        'GRANT ALL ON ALL SEQUENCES IN SCHEMA tiny_dancer TO %I WITH GRANT OPTION', owner
    );
END $$;

-- Rows are dumped, but for those that the script above or triggers write: which scripts ran, and counters.
DO $$
DECLARE
    each pg_catalog.regclass;
BEGIN
    FOR each IN
        SELECT oid FROM pg_catalog.pg_class
        WHERE relnamespace OPERATOR(pg_catalog.=) 'tiny_dancer'::pg_catalog.regnamespace
            AND (relkind OPERATOR(pg_catalog.=) 'r'::"char" OR relkind OPERATOR(pg_catalog.=) 'S'::"char")
            AND NOT relname OPERATOR(pg_catalog.=) ANY
                (ARRAY['migration', 'state', 'table_change', 'candidate_deletion']::pg_catalog.name[])
        ORDER BY relname
    LOOP
        PERFORM pg_catalog.pg_extension_config_dump(each, '');
    END LOOP;
END $$;
