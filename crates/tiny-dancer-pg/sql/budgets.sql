-- Budgets in SQL: reserve, settle, release. Part of tiny_dancer--VERSION.sql, after the tables.
--
-- SQL is one holder of the ledger, number 0, beside the tables that Python's processes keep. What is reserved is drawn: so
-- what all have drawn of a budget in its period is what is promised, and never more than its limit. A hold is a row; who
-- does not settle it has spent it. Who draws of a budget holds its lock until the transaction ends, as Python does.

CREATE TABLE tiny_dancer.budget_hold (
    hold uuid NOT NULL,
    budget text COLLATE "C" NOT NULL,
    start bigint NOT NULL,                  -- UTC milliseconds: of the period, or of the part of a rolling one
    amount bigint NOT NULL CHECK (amount >= 0),     -- 10^-12 USD
    expires_at double precision NOT NULL,   -- UTC seconds; from then on it counts as spent
    PRIMARY KEY (hold, budget)
);
CREATE INDEX budget_hold_expires ON tiny_dancer.budget_hold (budget, expires_at);

-- The nearest, as Python rounds it.
CREATE FUNCTION tiny_dancer.budget_units(field text, usd double precision) RETURNS bigint
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE COST 10 SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF usd IS NULL OR usd = 'NaN' OR usd < 0 OR usd > 9000000 THEN
        RAISE numeric_value_out_of_range USING
            MESSAGE = 'an argument is not valid', DETAIL = field || ': ' || coalesce(usd::text, 'null'), COLUMN = field,
            HINT = 'give USD, from 0 to 9,000,000';
    END IF;
    RETURN round(usd * 1000000000000::double precision);
END $$;
COMMENT ON FUNCTION tiny_dancer.budget_units(text, double precision) IS 'an amount of USD in units of the ledger';

CREATE FUNCTION tiny_dancer.budget_period(period text) RETURNS text
    LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE COST 10 SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    words text := lower(btrim(period));
    rolls boolean := starts_with(words, 'rolling ');
    length text := CASE WHEN rolls THEN btrim(substr(words, 9)) ELSE words END;
BEGIN
    length := CASE length WHEN 'hour' THEN '1h' WHEN 'day' THEN '1d' WHEN 'week' THEN '1w' WHEN 'month' THEN '1mo'
        WHEN 'year' THEN '12mo' ELSE length END;
    IF length ~ '^[1-9][0-9]{0,5}(s|m|h|d|w|mo)$' THEN
        IF NOT rolls THEN
            RETURN length;
        ELSIF length !~ 'mo$' AND tiny_dancer.period_seconds(length) >= 30 THEN
            RETURN 'rolling ' || length;
        END IF;
    END IF;
    RAISE invalid_parameter_value USING
        MESSAGE = 'an argument is not valid', DETAIL = 'period: ' || period, COLUMN = 'period',
        HINT = 'give day, week, month, year, a length such as 12h or 30d, or ''rolling 30d'' of 30s or more and no months';
END $$;
COMMENT ON FUNCTION tiny_dancer.budget_period(text) IS 'a period in its one spelling: 1d of day, 1mo of month, rolling 30d';

CREATE FUNCTION tiny_dancer.period_seconds(length text) RETURNS bigint
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN substring(length FROM '^[0-9]+')::bigint * CASE right(length, 1)
        WHEN 's' THEN 1 WHEN 'm' THEN 60 WHEN 'h' THEN 3600 WHEN 'd' THEN 86400 WHEN 'w' THEN 604800 END;
COMMENT ON FUNCTION tiny_dancer.period_seconds(text) IS 'seconds of a length such as 12h; null of months';

-- As Python's tiny_dancer.storage.periods: parts of a rolling window are a thirtieth, rounded up.
CREATE FUNCTION tiny_dancer.budget_span(
    period text,
    created_at double precision,
    moment double precision,
    OUT start bigint,
    OUT since bigint,
    OUT length bigint,
    OUT ends_at double precision
) RETURNS record
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE COST 50 SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    count integer;
    month integer;
    anchor double precision;
    seconds bigint;
BEGIN
    IF period IS NULL THEN
        start := 0; since := 0; length := 0; ends_at := 'Infinity';
    ELSIF starts_with(period, 'rolling ') THEN
        length := (tiny_dancer.period_seconds(substr(period, 9)) * 1000 + 29) / 30;
        start := floor(moment * 1000 / length)::bigint * length;
        since := start - 30 * length;
    ELSIF right(period, 2) = 'mo' THEN
        count := substring(period FROM '^[0-9]+')::integer;
        month := tiny_dancer.utc_month(moment);
        month := month - ((month - tiny_dancer.utc_month(created_at)) % count + count) % count;
        start := tiny_dancer.month_start(month) * 1000;
        ends_at := tiny_dancer.month_start(month + count);
        length := ends_at * 1000 - start;
        since := start;
    ELSE
        seconds := tiny_dancer.period_seconds(period);
        anchor := floor(created_at / 86400) * 86400;
        anchor := anchor + floor((moment - anchor) / seconds) * seconds;
        start := round(anchor * 1000);
        ends_at := anchor + seconds;
        length := seconds * 1000;
        since := start;
    END IF;
END $$;
COMMENT ON FUNCTION tiny_dancer.budget_span(text, double precision, double precision) IS
    'milliseconds: when the period at a moment began, the first part that counts with it, and its length; when it ends';

CREATE FUNCTION tiny_dancer.utc_month(moment double precision) RETURNS integer
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN 12 * date_part('year', to_timestamp(moment) AT TIME ZONE 'UTC')::integer
        + date_part('month', to_timestamp(moment) AT TIME ZONE 'UTC')::integer - 1;
COMMENT ON FUNCTION tiny_dancer.utc_month(double precision) IS 'months since the year 0';

CREATE FUNCTION tiny_dancer.month_start(month integer) RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN (make_date(month / 12, month % 12 + 1, 1) - '1970-01-01'::date)::bigint * 86400;
COMMENT ON FUNCTION tiny_dancer.month_start(integer) IS 'UTC seconds when a month began';

CREATE FUNCTION tiny_dancer.set_budget(
    scope text,
    subject text,
    usd double precision,
    period text DEFAULT NULL,
    kind text DEFAULT 'hard',
    starts_at timestamptz DEFAULT NULL,
    ends_at timestamptz DEFAULT NULL
) RETURNS text
    LANGUAGE plpgsql VOLATILE COST 5000 SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    present double precision := extract(epoch FROM statement_timestamp());
    begins double precision := tiny_dancer.checked_time('starts_at', starts_at);
    ends double precision := tiny_dancer.checked_time('ends_at', ends_at);
    spelled text := tiny_dancer.budget_period(period);
    whom text := coalesce(subject, '');
    budget_id text;
    trouble text[];
BEGIN
    PERFORM tiny_dancer.budget_units('usd', usd);
    trouble := CASE
        WHEN scope IS NULL OR scope NOT IN ('key', 'user', 'team', 'agent', 'model', 'route', 'project', 'tag', 'all') THEN
            ARRAY['scope', coalesce(scope, 'null'),
                'the scopes are key, user, team, agent, model, route, project, tag, all']
        WHEN scope = 'all' AND whom <> '' THEN
            ARRAY['subject', whom, 'leave it out: a budget of everything has none']
        WHEN scope <> 'all' AND whom = '' THEN
            ARRAY['subject', 'empty', 'name the ' || scope || ' it is for, or give the scope all']
        WHEN kind IS NULL OR kind NOT IN ('hard', 'soft') THEN
            ARRAY['kind', coalesce(kind, 'null'), 'the kinds are hard, soft']
        WHEN ends <= begins THEN
            ARRAY['ends_at', ends_at::text, 'give an end after the start']
        WHEN ends <= present THEN
            ARRAY['ends_at', ends_at::text, 'give an end to come, or none']
    END;
    IF trouble IS NOT NULL THEN
        RAISE invalid_parameter_value USING
            MESSAGE = 'an argument is not valid', DETAIL = trouble[1] || ': ' || trouble[2], HINT = trouble[3],
            COLUMN = trouble[1];
    END IF;
    IF whom <> '' THEN
        PERFORM tiny_dancer.checked_name('subject', whom);
    END IF;
    budget_id := concat_ws('/', scope, nullif(whom, ''), coalesce(spelled, 'ever'), nullif(kind, 'hard'));
    INSERT INTO tiny_dancer.budget AS there (id, scope, subject, most, period, kind, starts_at, ends_at, created_at)
        VALUES (budget_id, scope, whom, usd, spelled, kind, begins, ends, present)
        ON CONFLICT ON CONSTRAINT budget_pkey DO UPDATE
        SET most = excluded.most, starts_at = excluded.starts_at, ends_at = excluded.ends_at;
    RETURN budget_id;
END $$;
COMMENT ON FUNCTION tiny_dancer.set_budget(text, text, double precision, text, text, timestamptz, timestamptz) IS
    'sets what may be spent by whom in which period; gives its id. What was spent already counts';

CREATE FUNCTION tiny_dancer.delete_budget(id text) RETURNS boolean
    LANGUAGE plpgsql VOLATILE STRICT COST 1000 SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    DELETE FROM tiny_dancer.budget AS there WHERE there.id = delete_budget.id;
    RETURN FOUND;
END $$;
COMMENT ON FUNCTION tiny_dancer.delete_budget(text) IS 'removes a budget, but nothing that was spent of it; false where there is none';

CREATE FUNCTION tiny_dancer.budget_ledger(
    budget text, start bigint, since bigint, OUT most double precision, OUT drawn numeric
) RETURNS record
    LANGUAGE c VOLATILE STRICT COST 500 AS 'MODULE_PATHNAME', 'budget_ledger_wrapper';
COMMENT ON FUNCTION tiny_dancer.budget_ledger(text, bigint, bigint) IS
    'the limit of a budget and what all have drawn of it, as of now in every isolation level; for who holds its lock';

-- Which budgets in force a call falls under, in the order in which their locks are taken.
CREATE FUNCTION tiny_dancer.budgets_of(
    key text, "user" text, team text, agent text, model text, route text, project text, tags text[],
    moment double precision
) RETURNS SETOF tiny_dancer.budget
    LANGUAGE sql STABLE PARALLEL SAFE ROWS 3
BEGIN ATOMIC
    SELECT there.* FROM tiny_dancer.budget AS there
    WHERE (
        there.scope = 'all'
        OR (there.scope = 'key' AND there.subject = budgets_of.key)
        OR (there.scope = 'user' AND there.subject = budgets_of."user")
        OR (there.scope = 'team' AND there.subject = budgets_of.team)
        OR (there.scope = 'agent' AND there.subject = budgets_of.agent)
        OR (there.scope = 'model' AND there.subject = budgets_of.model)
        OR (there.scope = 'route' AND there.subject = budgets_of.route)
        OR (there.scope = 'project' AND there.subject = budgets_of.project)
        OR (there.scope = 'tag' AND there.subject = ANY (budgets_of.tags))
    )
    AND coalesce(there.starts_at <= moment, true) AND coalesce(moment < there.ends_at, true)
    ORDER BY there.id;
END;
COMMENT ON FUNCTION tiny_dancer.budgets_of(text, text, text, text, text, text, text, text[], double precision) IS
    'the budgets in force that a call falls under';

CREATE FUNCTION tiny_dancer.lock_budget(id text) RETURNS void
    LANGUAGE sql VOLATILE STRICT
BEGIN ATOMIC
    SELECT pg_advisory_xact_lock(hashtextextended(id, 8386936662405899636));
END;
COMMENT ON FUNCTION tiny_dancer.lock_budget(text) IS
    'takes the lock that whoever draws of a budget holds until the transaction ends; Python takes it too';

CREATE FUNCTION tiny_dancer.reserve_budget(
    cost double precision,
    key text DEFAULT NULL,
    "user" text DEFAULT NULL,
    team text DEFAULT NULL,
    agent text DEFAULT NULL,
    model text DEFAULT NULL,
    route text DEFAULT NULL,
    project text DEFAULT NULL,
    tags text[] DEFAULT NULL,
    lease interval DEFAULT '10 minutes',
    OUT hold uuid,
    OUT soft text[]
) RETURNS record
    LANGUAGE plpgsql VOLATILE COST 10000 SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    present double precision := extract(epoch FROM clock_timestamp());
    wanted bigint := tiny_dancer.budget_units('cost', cost);
    -- After it what nobody settled is spent.
    expires double precision := present + tiny_dancer.checked_length('lease', lease);
    name uuid := gen_random_uuid();
    budget tiny_dancer.budget;
    span record;
    ledger record;
    most bigint;
    promised numeric;
BEGIN
    -- What is reserved is reserved, whatever becomes of the server: also where sessions do not wait for its disk.
    IF current_setting('synchronous_commit') = 'off' THEN
        PERFORM set_config('synchronous_commit', 'local', true);
    END IF;
    soft := '{}';
    FOR budget IN
        SELECT * FROM tiny_dancer.budgets_of(key, "user", team, agent, model, route, project, tags, present)
    LOOP
        PERFORM tiny_dancer.lock_budget(budget.id);
        span := tiny_dancer.budget_span(budget.period, budget.created_at, present);
        ledger := tiny_dancer.budget_ledger(budget.id, span.start, span.since);
        -- Deleted while the lock was waited for.
        CONTINUE WHEN ledger.most IS NULL;
        most := round(ledger.most * 1000000000000::double precision);
        promised := coalesce(ledger.drawn, 0) + wanted;
        IF promised > (CASE budget.kind WHEN 'hard' THEN most ELSE 9223372036854775807 END) THEN
            RAISE SQLSTATE 'TD011' USING
                MESSAGE = 'a budget has less left than is asked for',
                DETAIL = format('budget: %s; limit %s USD, left %s, wanted %s', budget.id,
                    trim_scale(most / 1000000000000.0), trim_scale(greatest(most - promised + wanted, 0) / 1000000000000.0),
                    trim_scale(wanted / 1000000000000.0)),
                HINT = coalesce('ask for less, raise it by tiny_dancer.set_budget, or wait until '
                    || to_timestamp(nullif(span.ends_at, 'Infinity')), 'ask for less, or raise it by tiny_dancer.set_budget'),
                COLUMN = 'cost';
        END IF;
        IF budget.kind = 'soft' AND promised > most THEN
            soft := soft || budget.id;
        END IF;
        INSERT INTO tiny_dancer.budget_spending AS there (budget, start, holder, drawn, spent)
            VALUES (budget.id, span.start, 0, wanted, 0)
            ON CONFLICT ON CONSTRAINT budget_spending_pkey DO UPDATE SET drawn = there.drawn + excluded.drawn;
        INSERT INTO tiny_dancer.budget_hold VALUES (
            name, budget.id, span.start, wanted, expires
        );
        hold := name;
        PERFORM tiny_dancer.tidy_budget(budget.id, span.start - 100 * span.length, present);
    END LOOP;
END $$;
COMMENT ON FUNCTION tiny_dancer.reserve_budget(
    double precision, text, text, text, text, text, text, text, text[], interval
) IS 'reserves the most that a call can cost of every budget it falls under, all or nothing (SQLSTATE TD011): a hold, null where '
    'it falls under none; and the soft budgets that are spent';

-- What nobody settled for a day after its lease is spent for good; periods that are long over are forgotten.
CREATE FUNCTION tiny_dancer.tidy_budget(id text, forget bigint, present double precision) RETURNS void
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    lost record;
BEGIN
    FOR lost IN
        WITH gone AS (
            DELETE FROM tiny_dancer.budget_hold AS there
            WHERE there.budget = id AND expires_at < present - 86400 RETURNING there.start, amount
        )
        SELECT gone.start, sum(gone.amount)::bigint AS amount FROM gone GROUP BY gone.start
    LOOP
        UPDATE tiny_dancer.budget_spending AS there SET spent = there.spent + lost.amount
            WHERE there.budget = id AND there.start = lost.start AND there.holder = 0;
    END LOOP;
    DELETE FROM tiny_dancer.budget_spending AS there WHERE there.budget = id AND there.start < forget;
END $$;
COMMENT ON FUNCTION tiny_dancer.tidy_budget(text, bigint, double precision) IS 'forgets what is over; for who holds the budget''s lock';

CREATE FUNCTION tiny_dancer.settle_budget(hold uuid, cost double precision) RETURNS void
    LANGUAGE plpgsql VOLATILE COST 10000 SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    paid bigint := tiny_dancer.budget_units('cost', cost);
    part tiny_dancer.budget_hold;
    settled boolean := false;
BEGIN
    IF hold IS NULL THEN
        -- Of a call that falls under no budget.
        RETURN;
    END IF;
    FOR part IN SELECT * FROM tiny_dancer.budget_hold AS there WHERE there.hold = settle_budget.hold ORDER BY there.budget
    LOOP
        PERFORM tiny_dancer.lock_budget(part.budget);
        DELETE FROM tiny_dancer.budget_hold AS there
            WHERE there.hold = settle_budget.hold AND there.budget = part.budget;
        CONTINUE WHEN NOT FOUND;
        settled := true;
        UPDATE tiny_dancer.budget_spending AS there
            SET drawn = there.drawn - part.amount + paid, spent = there.spent + paid
            WHERE there.budget = part.budget AND there.start = part.start AND there.holder = 0;
    END LOOP;
    IF NOT settled THEN
        RAISE SQLSTATE 'TD012' USING
            MESSAGE = 'there is no such hold', DETAIL = 'hold: ' || hold, COLUMN = 'hold',
            HINT = 'settle or release a hold once, within a day after its lease';
    END IF;
END $$;
COMMENT ON FUNCTION tiny_dancer.settle_budget(uuid, double precision) IS
    'counts what a call did cost, all of it, and lets go of the rest of what was reserved';

CREATE FUNCTION tiny_dancer.release_budget(hold uuid) RETURNS void
    LANGUAGE sql VOLATILE COST 10000
BEGIN ATOMIC
    SELECT tiny_dancer.settle_budget(hold, 0);
END;
COMMENT ON FUNCTION tiny_dancer.release_budget(uuid) IS 'lets go of what was reserved for a call that was not made';

CREATE FUNCTION tiny_dancer.budget_status(
    at timestamptz DEFAULT NULL,
    OUT id text,
    OUT scope text,
    OUT subject text,
    OUT period text,
    OUT kind text,
    OUT usd numeric,
    OUT spent numeric,
    OUT reserved numeric,
    OUT remaining numeric,
    OUT resets_at timestamptz
) RETURNS SETOF record
    LANGUAGE sql STABLE PARALLEL SAFE COST 5000 ROWS 10
BEGIN ATOMIC
    WITH moment (present) AS (SELECT tiny_dancer.checked_time('at', coalesce(at, statement_timestamp())))
    SELECT
        there.id, there.scope, there.subject, there.period, there.kind,
        trim_scale(most.units / 1000000000000.0),
        trim_scale(spent.units / 1000000000000.0),
        trim_scale((drawn.units - spent.units) / 1000000000000.0),
        trim_scale(greatest(most.units - drawn.units, 0) / 1000000000000.0),
        to_timestamp(coalesce(nullif(span.ends_at, 'Infinity'), (drawn.first + 31 * span.length) / 1000.0))
    FROM moment
    CROSS JOIN tiny_dancer.budget AS there
    CROSS JOIN LATERAL tiny_dancer.budget_span(there.period, there.created_at, moment.present) AS span
    CROSS JOIN LATERAL (SELECT round(there.most * 1000000000000::double precision)::numeric) AS most (units)
    CROSS JOIN LATERAL (
        SELECT coalesce(sum(row.drawn), 0), coalesce(sum(row.spent), 0),
            min(row.start) FILTER (WHERE there.period LIKE 'rolling%' AND row.drawn > 0)
        FROM tiny_dancer.budget_spending AS row
        WHERE row.budget = there.id
            AND (row.start = span.start OR (span.since < span.start AND row.start >= span.since))
    ) AS drawn (units, told, first)
    CROSS JOIN LATERAL (
        SELECT drawn.told + coalesce(sum(lost.amount), 0) FROM tiny_dancer.budget_hold AS lost
        WHERE lost.budget = there.id AND lost.expires_at < moment.present
            AND (lost.start = span.start OR (span.since < span.start AND lost.start >= span.since))
    ) AS spent (units)
    WHERE coalesce(there.starts_at <= moment.present, true) AND coalesce(moment.present < there.ends_at, true)
    ORDER BY there.id;
END;
COMMENT ON FUNCTION tiny_dancer.budget_status(timestamptz) IS
    'how the budgets in force stand: USD spent, reserved by calls under way, and remaining; and when money comes back';

CREATE FUNCTION tiny_dancer.budget_remaining(
    key text DEFAULT NULL,
    "user" text DEFAULT NULL,
    team text DEFAULT NULL,
    agent text DEFAULT NULL,
    model text DEFAULT NULL,
    route text DEFAULT NULL,
    project text DEFAULT NULL,
    tags text[] DEFAULT NULL
) RETURNS numeric
    LANGUAGE sql STABLE PARALLEL SAFE COST 5000
BEGIN ATOMIC
    SELECT min(status.remaining)
    FROM tiny_dancer.budget_status() AS status
    JOIN tiny_dancer.budgets_of(key, "user", team, agent, model, route, project, tags,
        extract(epoch FROM statement_timestamp())::double precision) AS applies USING (id)
    WHERE status.kind = 'hard';
END;
COMMENT ON FUNCTION tiny_dancer.budget_remaining(text, text, text, text, text, text, text, text[]) IS
    'USD left of the tightest hard budget that a call falls under, for budget_remaining of tiny_dancer.route; null: none applies';
