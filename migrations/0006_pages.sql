-- What pages ask beside what the API asked before: other orders of the lists, what a worker holds, and what the last
-- verification found.

SET LOCAL ROLE lablet_app;

-- An interrupted rebuild goes on in tables that were made from the live ones before this: they get the same indexes.
DO $$
DECLARE
    tables text;
BEGIN
    FOREACH tables IN ARRAY ARRAY['read_sessions', 'read_sessions_next'] LOOP
        CONTINUE WHEN to_regclass(tables || '.sessions') IS NULL;
        EXECUTE format('SET LOCAL search_path = %I', tables);
        -- Orders of the list, each with what makes it one order only. Where there is no time, the row comes last.
        CREATE INDEX ON sessions (position);
        CREATE INDEX ON sessions (definition_id, created_position DESC);
        -- The one above does what this one did.
        DROP INDEX IF EXISTS sessions_definition_id_created_position_idx;
        CREATE INDEX ON sessions ((coalesce(timeslot_end, 'infinity'::timestamptz)), id);
        CREATE INDEX ON sessions ((coalesce(observed_at, '-infinity'::timestamptz)), id);
        -- What holds something of a worker now, of however many sessions it once held.
        CREATE INDEX ON sessions (worker_id, status);
    END LOOP;
    FOREACH tables IN ARRAY ARRAY['read_definitions', 'read_definitions_next'] LOOP
        CONTINUE WHEN to_regclass(tables || '.definitions') IS NULL;
        EXECUTE format('SET LOCAL search_path = %I', tables);
        CREATE INDEX ON definitions (lower(name), id);
    END LOOP;
    FOREACH tables IN ARRAY ARRAY['read_observation_requests', 'read_observation_requests_next'] LOOP
        CONTINUE WHEN to_regclass(tables || '.observation_requests') IS NULL;
        EXECUTE format('SET LOCAL search_path = %I', tables);
        CREATE INDEX ON observation_requests (finished_at) WHERE outcome = 'failed';
    END LOOP;
END
$$;

RESET ROLE;
SET LOCAL search_path = public;

-- What `lablet verify` found, the newest few.
CREATE TABLE verifications (
    id            bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    verified_at   timestamptz NOT NULL,
    verified_by   text        NOT NULL,
    -- Whether log, bus and read models held the same events, and the rows were what a rebuild makes of them.
    held          boolean     NOT NULL,
    -- Whether every row was compared with a rebuild.
    rows_compared boolean     NOT NULL,
    report        jsonb       NOT NULL
);
GRANT SELECT, INSERT, DELETE ON verifications TO lablet_app;
