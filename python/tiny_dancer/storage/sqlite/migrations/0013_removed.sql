-- What removed which model or agent from a request's choice; nothing for requests from before it was kept.
ALTER TABLE request ADD COLUMN removed TEXT NOT NULL DEFAULT '{}';     -- a JSON object of words
