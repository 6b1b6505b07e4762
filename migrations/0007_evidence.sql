-- What of an observation is no evidence, and why: totals that are not the sums of their own nodes, and labs of which no
-- node was running. The read models are made again from the log, which marks what was recorded before, too.

SET LOCAL ROLE lablet_app;

-- An interrupted rebuild goes on in tables that were made from the live ones before this: they get the same columns.
DO $$
DECLARE
    tables text;
BEGIN
    FOREACH tables IN ARRAY ARRAY['read_observations', 'read_observations_next'] LOOP
        CONTINUE WHEN to_regclass(tables || '.observations') IS NULL;
        EXECUTE format('SET LOCAL search_path = %I', tables);
        ALTER TABLE observations
            -- Field, what it states and what its nodes add up to.
            ADD COLUMN contradictions jsonb NOT NULL DEFAULT '[]',
            -- NULL: it is evidence.
            ADD COLUMN no_evidence text;
        -- Of the newest observation.
        ALTER TABLE observed_sessions
            ADD COLUMN contradictions jsonb NOT NULL DEFAULT '[]',
            ADD COLUMN no_evidence text;
    END LOOP;
END
$$;

-- Where nothing was applied yet, there is nothing to be made again.
UPDATE read_sessions.checkpoint SET revision = 2 WHERE position LIKE '0000000000-%' AND revision = 1;
UPDATE read_definitions.checkpoint SET revision = 2 WHERE position LIKE '0000000000-%' AND revision = 1;
UPDATE read_observations.checkpoint SET revision = 2 WHERE position LIKE '0000000000-%' AND revision = 1;

RESET ROLE;
SET LOCAL search_path = public;

-- Columns are added at the end of a view and nothing before them changes, so the rights on it stay.
CREATE OR REPLACE VIEW analytics_v1.observations AS
SELECT event_id, session_id, definition_id, definition_version, definition_revision, worker_id, cml_lab_id, observed_at,
       recorded_at, observer, reported_by, request_id, nominal_cpu_cores, nominal_memory_mb, nominal_storage_mb,
       nominal_unknown_cpu_nodes, nominal_unknown_memory_nodes, nominal_unknown_storage_nodes, used_cpu_cores,
       used_memory_mb, used_storage_mb, used_unknown_cpu_nodes, used_unknown_memory_nodes, used_unknown_storage_nodes,
       highest_cpu_percent AS used_highest_cpu_percent, node_count, nodes_booted AS booted_node_count,
       node_definitions_used, complete, phase, failed_reads, unreadable_entries, observed_ports, port_drift_detected,
       unallocated AS unallocated_ports, cml_version, topology_fingerprint, position, contradictions, no_evidence
  FROM read_observations.observations;

COMMENT ON COLUMN analytics_v1.observations.contradictions IS
    'Totals that are not the sums of their own nodes (by more than 1 % and more than 0.1 core or 16 MB), as a JSON array of field, stated and of_nodes in cores or megabytes; such a total counts in no other view. Never null. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.observations.no_evidence IS
    'Why the observation counts in no other view: nothing_ran, no node of the lab was running. Null: it counts. Source: lablet_session.resources_observed.';
