-- The version of the artifact that decided, and the variant: empty for requests from before they were kept.
ALTER TABLE request ADD COLUMN artifact_version TEXT NOT NULL DEFAULT '';
ALTER TABLE request ADD COLUMN variant TEXT NOT NULL DEFAULT '';
