-- The list of requests by definition and by worker, page by page, however many requests of others there are.

SET LOCAL ROLE lablet_app;

-- An interrupted rebuild goes on in tables that were made from the live ones before this: they get the same indexes.
DO $$
DECLARE
    tables text;
BEGIN
    FOREACH tables IN ARRAY ARRAY['read_observation_requests', 'read_observation_requests_next'] LOOP
        CONTINUE WHEN to_regclass(tables || '.observation_requests') IS NULL;
        EXECUTE format('SET LOCAL search_path = %I', tables);
        CREATE INDEX ON observation_requests (definition_id, created_position);
        CREATE INDEX ON observation_requests (worker_id, created_position);
        CREATE INDEX ON observation_requests (requested_at);
    END LOOP;
END
$$;

RESET ROLE;
SET LOCAL search_path = public;
