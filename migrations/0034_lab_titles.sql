-- What a session's lab is called in CML: in its row, among what its list is searched by, and for analysts.

SET LOCAL ROLE lablet_app;

-- An interrupted rebuild goes on in tables that were made from the live ones before this: they get the same structure.
DO $$
DECLARE
    tables text;
BEGIN
    FOREACH tables IN ARRAY ARRAY['read_sessions', 'read_sessions_next'] LOOP
        CONTINUE WHEN to_regclass(tables || '.sessions') IS NULL;
        EXECUTE format('SET LOCAL search_path = %I', tables);
        -- Of the newest observation that told it. NULL: none did.
        ALTER TABLE sessions ADD COLUMN lab_title text;
        -- What a column is made of cannot be changed before Postgres 17.
        ALTER TABLE sessions DROP COLUMN search;
        ALTER TABLE sessions ADD COLUMN search text NOT NULL GENERATED ALWAYS AS (
            lower(id || ' ' || definition_id || ' ' || coalesce(owner_id, '') || ' ' || coalesce(worker_id, '') || ' '
                  || coalesce(cml_lab_id, '') || ' ' || coalesce(lab_title, ''))) STORED;
    END LOOP;
END
$$;

-- Where nothing was applied yet, there is nothing to be made again.
UPDATE read_sessions.checkpoint SET revision = 4 WHERE position LIKE '0000000000-%' AND revision = 3;

-- A column is added at the end of this view and nothing before it changes, so the rights on it stay.
SET LOCAL search_path = public;
CREATE OR REPLACE VIEW analytics_v1.sessions AS
SELECT s.id AS session_id, s.definition_id, s.definition_version, s.definition_revision, s.owner_id, s.status, s.status_reason,
       s.status_since, s.worker_id, s.cml_lab_id, s.allocated_ports, s.observed_ports, s.port_drift_detected, s.port_drift,
       s.verdict_observed_at AS port_drift_observed_at, s.verdict_event_id AS port_drift_event_id,
       s.drift_since AS port_drift_since, s.unallocated AS unallocated_ports, s.observation_count, s.observed_at,
       s.observed_event_id, s.observation_complete, s.open_requests AS open_request_count, s.timeslot_start, s.timeslot_end,
       s.created_at, s.updated_at, s.sequence, s.position, s.nominal_cpu_cores, s.nominal_memory_mb, o.used_cpu_cores,
       o.used_memory_mb, o.used_storage_mb, s.acknowledged_until AS port_drift_acknowledged_until,
       s.acknowledgement_reason AS port_drift_acknowledgement_reason, s.acknowledged_by AS port_drift_acknowledged_by,
       s.acknowledged_at AS port_drift_acknowledged_at, s.acknowledgement_event_id AS port_drift_acknowledgement_event_id,
       s.lab_title
  FROM read_sessions.sessions s
  LEFT JOIN read_observations.observations o ON o.event_id = s.observed_event_id;

COMMENT ON COLUMN analytics_v1.sessions.lab_title IS
    'What the lab is called in CML. Null: no observation told it. Source: lablet_session.resources_observed.';

RESET ROLE;
