-- Who changed what, when and why, for analysts: what `/activity` and `/api/activity` say in words.

SET LOCAL ROLE lablet_app;

-- The types are those of the index `events_changes`, so that the view reads the few events that it shows and not the log.
CREATE VIEW analytics_v1.changes AS
SELECT e.event_id, e.event_type || '.v' || e.event_version AS type, e.recorded_at, e.metadata ->> 'actor' AS actor,
       e.aggregate_type, e.aggregate_id, coalesce(w.name, d.name) AS name, d.id AS definition_id,
       nullif(e.payload ->> 'reason', '') AS reason,
       lpad(e.epoch::text, 10, '0') || '-' || lpad(e.written_by::text, 20, '0') || '-' || lpad(e.position::text, 19, '0') AS position
  FROM public.events e
  LEFT JOIN read_sessions.sessions s ON e.aggregate_type = 'lablet_session' AND s.id = e.aggregate_id
  LEFT JOIN read_definitions.definitions d
    ON d.id = CASE e.aggregate_type WHEN 'lablet_definition' THEN e.aggregate_id ELSE s.definition_id END
  LEFT JOIN read_workers.workers w ON e.aggregate_type = 'worker' AND w.id = e.aggregate_id
 WHERE e.event_type IN (
    'lablet_definition.created', 'lablet_definition.revised', 'lablet_definition.policy_set',
    'lablet_definition.proposal_claimed', 'lablet_definition.proposal_applied',
    'lablet_definition.proposal_failed', 'lablet_definition.proposal_dismissed', 'advice_policy.set',
    'worker.registered', 'worker.changed', 'lablet_session.evidence_excluded',
    'lablet_session.evidence_included', 'lablet_session.port_drift_acknowledged',
    'lablet_session.port_drift_acknowledgement_withdrawn', 'lablet_session.allocation_corrected');

GRANT SELECT ON analytics_v1.changes TO lablet_analyst;

RESET ROLE;

COMMENT ON VIEW analytics_v1.changes IS
    'Who changed what, when and why: the few events by which people and services change definitions, policies, proposals, workers, evidence, acknowledged drift and allocations, one row each. Key: event_id. Joins: events by event_id, definitions by definition_id; aggregate_id is a session_id, definition_id or worker_id, by aggregate_type. They are served by an index of their own. Read model: none, the log itself, so it is never behind; names come from definitions and workers, the definition of a session from sessions. Source: the events of these types.';
COMMENT ON COLUMN analytics_v1.changes.event_id IS
    'Id of the event (UUIDv7). Never null. Source: the log, every event.';
COMMENT ON COLUMN analytics_v1.changes.type IS
    'What was done and in which version, e.g. lablet_definition.revised.v1. Never null. Source: the log, every event.';
COMMENT ON COLUMN analytics_v1.changes.recorded_at IS
    'When the log took it. Never null. Source: the log, every event.';
COMMENT ON COLUMN analytics_v1.changes.actor IS
    'Who did it, e.g. admin:ada or service:booking. Null: the log does not say. Source: the log, every event.';
COMMENT ON COLUMN analytics_v1.changes.aggregate_type IS
    'What was changed: lablet_definition, lablet_session, worker or advice_policy (the default one). Never null. Source: the log, every event.';
COMMENT ON COLUMN analytics_v1.changes.aggregate_id IS
    'Its id. Never null. Source: the log, every event.';
COMMENT ON COLUMN analytics_v1.changes.name IS
    'Name of the definition or the worker; of a session that of its definition. Null: it is the default policy, or no read model has it yet. Source: lablet_definition.created, worker.registered and worker.changed.';
COMMENT ON COLUMN analytics_v1.changes.definition_id IS
    'Id of the definition, of a session that of its definition. Null: it is a worker or the default policy, or no read model has it yet. Source: lablet_definition.created.';
COMMENT ON COLUMN analytics_v1.changes.reason IS
    'Why, as whoever did it wrote it. Null: nobody said. Source: the event itself.';
COMMENT ON COLUMN analytics_v1.changes.position IS
    'Position of the event in the global order; sorts as text. Source: the log, every event.';
