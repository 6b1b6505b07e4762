-- What analysts are told of read models that hold something back.

SET LOCAL ROLE lablet_app;

DO $$
DECLARE
    definition text := rtrim(pg_get_viewdef('analytics_v1.freshness'::regclass), E' ;\n');
BEGIN
    -- Whatever columns the view has, the new one comes after them.
    EXECUTE format('CREATE OR REPLACE VIEW analytics_v1.freshness AS
        SELECT known.*, known.lag_events = 0 AND known.parked_aggregates = 0 AS is_up_to_date FROM (%s) known', definition);
END
$$;

COMMENT ON COLUMN analytics_v1.freshness.is_up_to_date IS
    'Whether the views show everything that the log held: no event is after position, and nothing is parked. Never null. Source: the checkpoints of the read models, and the log.';

RESET ROLE;
