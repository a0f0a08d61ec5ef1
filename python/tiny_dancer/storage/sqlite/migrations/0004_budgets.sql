-- A period of any length, an amount to warn from (LiteLLM's soft_budget), and budgets of single models. What was called
-- soft_budget, whether a spent budget leaves cheaper models, has a name of its own.
ALTER TABLE api_key RENAME COLUMN soft_budget TO cheaper_when_spent;
ALTER TABLE api_key ADD COLUMN max_budget REAL;                     -- USD
ALTER TABLE api_key ADD COLUMN budget_duration TEXT;                -- 30d, 1mo; NULL: for ever
ALTER TABLE api_key ADD COLUMN soft_budget REAL;                    -- USD
ALTER TABLE api_key ADD COLUMN model_max_budget TEXT NOT NULL DEFAULT '[]';     -- a JSON list of budgets

-- Whether tokens or money are guessed, and how much of the money.
ALTER TABLE request ADD COLUMN guessed INTEGER NOT NULL DEFAULT 0;
ALTER TABLE request ADD COLUMN guessed_cost REAL NOT NULL DEFAULT 0
    CHECK (guessed_cost >= 0 AND guessed_cost < 9e999);

-- Spending by model as well; what was summed up before is under no model.
ALTER TABLE spend RENAME TO spend_by_key;
CREATE TABLE spend (
    day INTEGER NOT NULL,               -- UTC, days since 1970
    key TEXT NOT NULL,
    model TEXT NOT NULL,
    cost REAL NOT NULL,                 -- USD
    tokens INTEGER NOT NULL,
    requests INTEGER NOT NULL,
    PRIMARY KEY (day, key, model)
) STRICT, WITHOUT ROWID;
INSERT INTO spend SELECT day, key, '', cost, tokens, requests FROM spend_by_key;
DROP TABLE spend_by_key;
