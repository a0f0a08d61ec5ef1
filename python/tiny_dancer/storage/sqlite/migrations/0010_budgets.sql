-- Budgets of anything: a key, a user, a team, ..., and what was spent of each.
CREATE TABLE budget (
    id TEXT PRIMARY KEY,                -- scope/subject/period
    scope TEXT NOT NULL,
    subject TEXT NOT NULL,              -- empty for the scope of everything
    most REAL NOT NULL,                 -- USD
    period TEXT,                        -- 1d, 1mo, rolling 30d; NULL: one that never ends
    kind TEXT NOT NULL,                 -- hard, soft
    starts_at REAL,                     -- UTC seconds
    ends_at REAL,
    created_at REAL NOT NULL
) STRICT, WITHOUT ROWID;

-- How often the table above was written: who has seen the number has seen everything before.
CREATE TABLE budget_change (
    single INTEGER PRIMARY KEY CHECK (single = 1),
    changes INTEGER NOT NULL
) STRICT;
INSERT INTO budget_change VALUES (1, 0);

-- What each holder (a table of reservations beside the database) may spend in a period, and has. No holder spends
-- what it has not drawn here before; what is drawn counts as spent where its holder is lost.
CREATE TABLE budget_spending (
    budget TEXT NOT NULL,
    start INTEGER NOT NULL,             -- UTC milliseconds: of the period, or of the part of a rolling one
    holder INTEGER NOT NULL,
    drawn INTEGER NOT NULL,             -- 10^-12 USD
    spent INTEGER NOT NULL,             -- 10^-12 USD, as last told
    PRIMARY KEY (budget, start, holder)
) STRICT, WITHOUT ROWID;
