-- Sessions that somebody excluded are told wherever their definition is shown: they are few among many.

SET LOCAL ROLE lablet_app;

-- An interrupted rebuild goes on in tables that were made from the live ones before this: they get the same index.
DO $$
DECLARE
    tables text;
BEGIN
    FOREACH tables IN ARRAY ARRAY['read_advice', 'read_advice_next'] LOOP
        CONTINUE WHEN to_regclass(tables || '.sessions') IS NULL;
        EXECUTE format('CREATE INDEX ON %I.sessions (definition_id, ended_position) WHERE excluded', tables);
    END LOOP;
END
$$;

RESET ROLE;
SET LOCAL search_path = public;
