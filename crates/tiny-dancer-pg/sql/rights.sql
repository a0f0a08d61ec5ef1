-- Rights, last of all. The tables are the superuser's where an owner of the database makes the extension: what that owner
-- may do with them is granted here. Who else may, the owner grants: first of all USAGE ON SCHEMA tiny_dancer.
GRANT SELECT ON tiny_dancer.artifacts TO PUBLIC;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA tiny_dancer TO @extowner@ WITH GRANT OPTION;
