-- Rows that folds keep in memory: what can be had from elsewhere is no longer stored with every change of a row.

SET LOCAL ROLE lablet_app;

-- An interrupted rebuild goes on in tables that were made from the live ones before this: they get the same structure.
DO $$
DECLARE
    model text;
    tables text;
BEGIN
    FOREACH model IN ARRAY ARRAY['sessions', 'definitions', 'observations', 'observation_requests', 'workers'] LOOP
        FOREACH tables IN ARRAY ARRAY['read_' || model, 'read_' || model || '_next'] LOOP
            CONTINUE WHEN to_regclass(tables || '.checkpoint') IS NULL;
            -- Raised by everybody who changes rows: whoever loaded some before does not write them back.
            EXECUTE format('ALTER TABLE %I.checkpoint ADD COLUMN changes bigint NOT NULL DEFAULT 0', tables);
        END LOOP;
    END LOOP;
    FOREACH tables IN ARRAY ARRAY['read_sessions', 'read_sessions_next'] LOOP
        CONTINUE WHEN to_regclass(tables || '.sessions') IS NULL;
        -- The newest observation, up to a megabyte, is in the event that observed_event_id names; what its ports lead to
        -- is asked of many sessions at once.
        EXECUTE format('ALTER TABLE %I.sessions DROP COLUMN observed_resources, DROP COLUMN observed_position,
                        ADD COLUMN ports jsonb', tables);
    END LOOP;
END
$$;

RESET ROLE;

-- What all nodes of an observation have in common is in its own row.
CREATE OR REPLACE VIEW analytics_v1.observation_nodes AS
SELECT n.event_id, n.ordinal, o.session_id, o.definition_id, o.observed_at, n.node_id, n.label, n.node_definition,
       n.image_definition, n.state, n.cpus AS virtual_cpu_count, n.cpu_limit_percent, n.nominal_cpu_cores,
       n.nominal_memory_mb, n.used_cpu_percent, n.used_cpu_cores, n.used_memory_mb, n.used_storage_mb,
       n.disk_read_bytes, n.disk_written_bytes, n.booted_seconds, o.position
  FROM read_observations.observation_nodes n
  JOIN read_observations.observations o ON o.event_id = n.event_id;

SET LOCAL ROLE lablet_app;

DO $$
DECLARE
    tables text;
BEGIN
    FOREACH tables IN ARRAY ARRAY['read_observations', 'read_observations_next'] LOOP
        CONTINUE WHEN to_regclass(tables || '.observation_nodes') IS NULL;
        EXECUTE format('SET LOCAL search_path = %I', tables);
        -- The index over the position goes with its column.
        ALTER TABLE observation_nodes
            DROP COLUMN session_id, DROP COLUMN definition_id, DROP COLUMN observed_at, DROP COLUMN position;
        CREATE INDEX ON observation_nodes (node_definition, image_definition);
    END LOOP;
END
$$;

-- Where nothing was applied yet, there is nothing to be made again.
UPDATE read_sessions.checkpoint SET revision = 3 WHERE position LIKE '0000000000-%' AND revision = 2;
UPDATE read_definitions.checkpoint SET revision = 3 WHERE position LIKE '0000000000-%' AND revision = 2;
UPDATE read_observations.checkpoint SET revision = 3 WHERE position LIKE '0000000000-%' AND revision = 2;

RESET ROLE;
SET LOCAL search_path = public;
