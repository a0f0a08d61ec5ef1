-- Who a request is paid by, and what its spending is told apart by; nothing for requests from before it was kept.
ALTER TABLE request ADD COLUMN user TEXT NOT NULL DEFAULT '';
ALTER TABLE request ADD COLUMN team TEXT NOT NULL DEFAULT '';
ALTER TABLE request ADD COLUMN project TEXT NOT NULL DEFAULT '';
ALTER TABLE request ADD COLUMN tags TEXT NOT NULL DEFAULT '[]';     -- a JSON list of texts
ALTER TABLE request ADD COLUMN agent TEXT NOT NULL DEFAULT '';
ALTER TABLE request ADD COLUMN route TEXT NOT NULL DEFAULT '';

-- Whose a key is: budgets may be for a user, a team or a project.
ALTER TABLE api_key ADD COLUMN user TEXT;
ALTER TABLE api_key ADD COLUMN team TEXT;
ALTER TABLE api_key ADD COLUMN project TEXT;
