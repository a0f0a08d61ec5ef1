-- What was done about the tools of a request, and what that saved: nothing for requests from before it was kept.
ALTER TABLE request ADD COLUMN tool_selection TEXT NOT NULL DEFAULT '';
ALTER TABLE request ADD COLUMN tools_before INTEGER NOT NULL DEFAULT 0;
ALTER TABLE request ADD COLUMN tools_sent INTEGER NOT NULL DEFAULT 0;
ALTER TABLE request ADD COLUMN tool_tokens_saved INTEGER NOT NULL DEFAULT 0;    -- guessed; below 0 where tools were added
ALTER TABLE request ADD COLUMN tool_searches INTEGER NOT NULL DEFAULT 0;
