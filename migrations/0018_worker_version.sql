-- A worker's version, which its pressure does not raise, beside the sequence of its last event.

SET LOCAL ROLE lablet_app;

DO $$
DECLARE
    tables text;
BEGIN
    FOREACH tables IN ARRAY ARRAY['read_workers', 'read_workers_next'] LOOP
        CONTINUE WHEN to_regclass(tables || '.workers') IS NULL;
        EXECUTE format('ALTER TABLE %I.workers ADD COLUMN version bigint', tables);
        EXECUTE format('UPDATE %I.workers SET version = sequence', tables);
        EXECUTE format('ALTER TABLE %I.workers ALTER COLUMN version SET NOT NULL', tables);
    END LOOP;
END
$$;

-- Where nothing was applied yet, there is nothing to be made again.
UPDATE read_workers.checkpoint SET revision = 3 WHERE position LIKE '0000000000-%' AND revision = 2;

RESET ROLE;

COMMENT ON COLUMN analytics_v1.workers.sequence IS
    'Number of its events. Never null. Source: worker.registered, worker.changed and worker.pressure_observed.';
