-- That somebody knows of a session's drift and leaves it as it is for a while; and each drifted port for analysts.

SET LOCAL ROLE lablet_app;

DO $$
DECLARE
    tables text;
BEGIN
    FOREACH tables IN ARRAY ARRAY['read_sessions', 'read_sessions_next'] LOOP
        CONTINUE WHEN to_regclass(tables || '.sessions') IS NULL;
        -- The drift as it was acknowledged, as are the columns after it of the same event. NULL: nobody knows of it.
        EXECUTE format('ALTER TABLE %I.sessions ADD COLUMN acknowledged_drift jsonb, '
                       'ADD COLUMN acknowledgement_reason text, ADD COLUMN acknowledged_until timestamptz, '
                       'ADD COLUMN acknowledged_by text, ADD COLUMN acknowledged_at timestamptz, '
                       'ADD COLUMN acknowledgement_event_id uuid', tables);
    END LOOP;
END
$$;

-- Columns are added at the end of this view and nothing before them changes, so the rights on it stay.
CREATE OR REPLACE VIEW analytics_v1.sessions AS
SELECT s.id AS session_id, s.definition_id, s.definition_version, s.definition_revision, s.owner_id, s.status, s.status_reason,
       s.status_since, s.worker_id, s.cml_lab_id, s.allocated_ports, s.observed_ports, s.port_drift_detected, s.port_drift,
       s.verdict_observed_at AS port_drift_observed_at, s.verdict_event_id AS port_drift_event_id,
       s.drift_since AS port_drift_since, s.unallocated AS unallocated_ports, s.observation_count, s.observed_at,
       s.observed_event_id, s.observation_complete, s.open_requests AS open_request_count, s.timeslot_start, s.timeslot_end,
       s.created_at, s.updated_at, s.sequence, s.position, s.nominal_cpu_cores, s.nominal_memory_mb, o.used_cpu_cores,
       o.used_memory_mb, o.used_storage_mb, s.acknowledged_until AS port_drift_acknowledged_until,
       s.acknowledgement_reason AS port_drift_acknowledgement_reason, s.acknowledged_by AS port_drift_acknowledged_by,
       s.acknowledged_at AS port_drift_acknowledged_at, s.acknowledgement_event_id AS port_drift_acknowledgement_event_id
  FROM read_sessions.sessions s
  LEFT JOIN read_observations.observations o ON o.event_id = s.observed_event_id;

COMMENT ON COLUMN analytics_v1.sessions.port_drift_acknowledged_until IS
    'Until when the drift as it is now is known and left as it is; past: it is open again. Null: nobody acknowledged it. Source: lablet_session.port_drift_acknowledged.';
COMMENT ON COLUMN analytics_v1.sessions.port_drift_acknowledgement_reason IS
    'Why it is left as it is. Null: nobody acknowledged it. Source: lablet_session.port_drift_acknowledged.';
COMMENT ON COLUMN analytics_v1.sessions.port_drift_acknowledged_by IS
    'Who acknowledged it. Null: nobody did. Source: lablet_session.port_drift_acknowledged.';
COMMENT ON COLUMN analytics_v1.sessions.port_drift_acknowledged_at IS
    'When it was acknowledged. Null: it was not. Source: lablet_session.port_drift_acknowledged.';
COMMENT ON COLUMN analytics_v1.sessions.port_drift_acknowledgement_event_id IS
    'The event that acknowledged it. Null: nobody acknowledged it. Source: lablet_session.port_drift_acknowledged.';

CREATE VIEW analytics_v1.drifted_ports AS
SELECT s.id AS session_id, s.definition_id, s.worker_id, s.status, p.port_name, p.kind, p.allocated_port, p.observed_port,
       s.drift_since AS port_drift_since, s.verdict_observed_at AS port_drift_observed_at,
       s.verdict_event_id AS port_drift_event_id, s.acknowledged_until AS port_drift_acknowledged_until, s.position
  FROM read_sessions.sessions s
 CROSS JOIN LATERAL (
       SELECT 'changed' AS kind, m.key AS port_name, CASE WHEN m.value ->> 'allocated' ~ '^\d{1,5}$' THEN (m.value ->> 'allocated')::integer END AS allocated_port,
              CASE WHEN m.value ->> 'observed' ~ '^\d{1,5}$' THEN (m.value ->> 'observed')::integer END AS observed_port
         FROM jsonb_each(CASE WHEN jsonb_typeof(s.port_drift -> 'changed') = 'object' THEN s.port_drift -> 'changed' ELSE '{}' END) m
        UNION ALL
       SELECT 'removed', m.key, CASE WHEN m.value #>> '{}' ~ '^\d{1,5}$' THEN (m.value #>> '{}')::integer END, NULL
         FROM jsonb_each(CASE WHEN jsonb_typeof(s.port_drift -> 'removed') = 'object' THEN s.port_drift -> 'removed' ELSE '{}' END) m
        UNION ALL
       SELECT 'added', m.key, NULL, CASE WHEN m.value #>> '{}' ~ '^\d{1,5}$' THEN (m.value #>> '{}')::integer END
         FROM jsonb_each(CASE WHEN jsonb_typeof(s.port_drift -> 'added') = 'object' THEN s.port_drift -> 'added' ELSE '{}' END) m) p
 WHERE s.port_drift_detected;

COMMENT ON VIEW analytics_v1.drifted_ports IS
    'Each port that is not as allocated, by the newest observation that could read the tags, one row a session, port and kind. Key: session_id, port_name, kind. Joins: sessions by session_id, definitions by definition_id, events by port_drift_event_id. Read model: sessions. Source: lablet_session.port_drift_detected and lablet_session.allocation_corrected.';
COMMENT ON COLUMN analytics_v1.drifted_ports.session_id IS
    'Id of the session. Never null. Source: lablet_session.created.';
COMMENT ON COLUMN analytics_v1.drifted_ports.definition_id IS
    'Id of its definition. Never null. Source: lablet_session.created.';
COMMENT ON COLUMN analytics_v1.drifted_ports.worker_id IS
    'Id of its worker. Null: not scheduled yet. Source: lablet_session.scheduled and later steps.';
COMMENT ON COLUMN analytics_v1.drifted_ports.status IS
    'State of the session. Never null. Source: the event of its newest step.';
COMMENT ON COLUMN analytics_v1.drifted_ports.port_name IS
    'Name of the port. Never null. Source: lablet_session.port_drift_detected and lablet_session.allocation_corrected.';
COMMENT ON COLUMN analytics_v1.drifted_ports.kind IS
    'changed (another number), removed (allocated, not observed) or added (observed, not allocated). Never null. Source: lablet_session.port_drift_detected and lablet_session.allocation_corrected.';
COMMENT ON COLUMN analytics_v1.drifted_ports.allocated_port IS
    'Outside port that was allocated. Null: none was (added). Source: lablet_session.port_drift_detected and lablet_session.allocation_corrected.';
COMMENT ON COLUMN analytics_v1.drifted_ports.observed_port IS
    'Outside port that was observed. Null: none was (removed). Source: lablet_session.port_drift_detected and lablet_session.allocation_corrected.';
COMMENT ON COLUMN analytics_v1.drifted_ports.port_drift_since IS
    'Since when observations have been saying that the ports of the session drifted. Null: unknown. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.drifted_ports.port_drift_observed_at IS
    'When the observation was made. Null: unknown. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.drifted_ports.port_drift_event_id IS
    'Event of the observation. Null: unknown. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.drifted_ports.port_drift_acknowledged_until IS
    'Until when it is known and left as it is; past: it is open again. Null: nobody acknowledged it. Source: lablet_session.port_drift_acknowledged.';
COMMENT ON COLUMN analytics_v1.drifted_ports.position IS
    'Position of the last event of the session; sorts as text. Never null. Source: all lablet_session events.';
GRANT SELECT ON analytics_v1.drifted_ports TO lablet_analyst;

RESET ROLE;
