-- Arguments, checked: errors of PostgreSQL's own would not say which one, and what to do. Part of tiny_dancer--VERSION.sql,
-- before all others.

CREATE FUNCTION tiny_dancer.checked_name(field text, value text) RETURNS text
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE COST 10 SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    -- What an entry of an index takes.
    IF octet_length(value) > 2600 THEN
        RAISE string_data_right_truncation USING
            MESSAGE = 'an argument is not valid', COLUMN = field,
            DETAIL = format('%s: %s… (%s bytes)', field, left(value, 20), octet_length(value)),
            HINT = 'give at most 2,600 bytes';
    END IF;
    IF value IS NULL OR value = '' THEN
        RAISE null_value_not_allowed USING
            MESSAGE = 'an argument is not valid', DETAIL = field || CASE WHEN value IS NULL THEN ': null' ELSE ': empty' END,
            HINT = 'give a text that is not empty', COLUMN = field;
    END IF;
    RETURN value;
END $$;
COMMENT ON FUNCTION tiny_dancer.checked_name(text, text) IS 'a text by which a row is found: not empty, and at most 2,600 bytes';

CREATE FUNCTION tiny_dancer.checked_time(field text, value timestamptz) RETURNS double precision
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE COST 10 SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF value NOT BETWEEN '0001-01-01 00:00:00+00' AND '9999-12-31 23:59:59+00' THEN
        RAISE datetime_field_overflow USING
            MESSAGE = 'an argument is not valid', DETAIL = field || ': ' || value, COLUMN = field,
            HINT = 'give a time in the years 1 to 9999, or leave it out';
    END IF;
    RETURN extract(epoch FROM value);
END $$;
COMMENT ON FUNCTION tiny_dancer.checked_time(text, timestamptz) IS 'a time in UTC seconds, in the years 1 to 9999; null of null';

CREATE FUNCTION tiny_dancer.checked_length(field text, value interval) RETURNS double precision
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE COST 10 SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF value IS NULL OR value <= '0' OR value > '1000 years' THEN
        RAISE invalid_parameter_value USING
            MESSAGE = 'an argument is not valid', DETAIL = field || ': ' || coalesce(value::text, 'null'), COLUMN = field,
            HINT = 'give a time above 0 and up to 1000 years, such as 7 days';
    END IF;
    RETURN extract(epoch FROM value);
END $$;
COMMENT ON FUNCTION tiny_dancer.checked_length(text, interval) IS 'a length of time in seconds: above 0, up to 1000 years';

CREATE FUNCTION tiny_dancer.amount(field text, value double precision) RETURNS double precision
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE COST 10 SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF value < 0 OR value IN ('NaN', 'Infinity') THEN
        RAISE numeric_value_out_of_range USING
            MESSAGE = 'an argument is not valid', DETAIL = field || ': ' || value, COLUMN = field,
            HINT = 'give a finite number, 0 or more, or null where nobody knows';
    END IF;
    RETURN value;
END $$;
COMMENT ON FUNCTION tiny_dancer.amount(text, double precision) IS 'a number that a field may have: finite, 0 or more, or null';

CREATE FUNCTION tiny_dancer.interval_of(field text, value text) RETURNS interval
    LANGUAGE plpgsql STABLE STRICT COST 100 SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN value::interval;
EXCEPTION WHEN data_exception THEN
    RAISE invalid_parameter_value USING
        MESSAGE = 'an argument is not valid', DETAIL = field || ': ' || value, COLUMN = field,
        HINT = 'give a length of time, such as 7 days or 12 hours';
END $$;
COMMENT ON FUNCTION tiny_dancer.interval_of(text, text) IS 'a length of time that is given as a text';
