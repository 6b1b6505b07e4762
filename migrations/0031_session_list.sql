-- The list of sessions by owner, known or not, and by ranges of time, however many sessions of others there are.

SET LOCAL ROLE lablet_app;

-- An interrupted rebuild goes on in tables that were made from the live ones before this: they get the same indexes.
DO $$
DECLARE
    tables text;
BEGIN
    FOREACH tables IN ARRAY ARRAY['read_sessions', 'read_sessions_next'] LOOP
        CONTINUE WHEN to_regclass(tables || '.sessions') IS NULL;
        EXECUTE format('SET LOCAL search_path = %I', tables);
        CREATE INDEX ON sessions (owner_id, created_position);
        CREATE INDEX ON sessions (created_at);
        CREATE INDEX ON sessions (updated_at);
    END LOOP;
END
$$;

RESET ROLE;
SET LOCAL search_path = public;
