-- What analysts ask and had no view for: every step of a session, every event, ports, interfaces, deviations; what was used
-- beside what was nominal; counters as bigint and ids as uuid; and, in the comments, keys, joins and the read model.
--
-- A column is added at the end of a view. Two things change within v1, as nobody could reckon with them: counters that were
-- numeric are bigint, which every statement that read them reads as before.

-- Ranges of time over the log. A block range index costs an append next to nothing, as events come in the order of time.
CREATE INDEX events_recorded_at ON events USING brin (recorded_at) WITH (autosummarize = on);

SET LOCAL ROLE lablet_app;

-- An interrupted rebuild goes on in tables that were made from the live ones before this: they get the same index.
DO $$
DECLARE
    tables text;
BEGIN
    FOREACH tables IN ARRAY ARRAY['read_observations', 'read_observations_next'] LOOP
        CONTINUE WHEN to_regclass(tables || '.observations') IS NULL;
        EXECUTE format('CREATE INDEX ON %I.observations (observed_at)', tables);
    END LOOP;
    FOREACH tables IN ARRAY ARRAY['read_advice', 'read_advice_next'] LOOP
        CONTINUE WHEN to_regclass(tables || '.sessions') IS NULL;
        EXECUTE format('CREATE INDEX ON %I.sessions (ended_at)', tables);
    END LOOP;
END
$$;

CREATE VIEW analytics_v1.events AS
SELECT e.event_id, e.event_type || '.v' || e.event_version AS type, e.aggregate_type, e.aggregate_id, e.sequence,
       e.recorded_at, e.metadata ->> 'actor' AS actor, octet_length(e.payload::text)::bigint AS payload_bytes,
       lpad(e.epoch::text, 10, '0') || '-' || lpad(e.written_by::text, 20, '0') || '-' || lpad(e.position::text, 19, '0') AS position
  FROM public.events e;

COMMENT ON VIEW analytics_v1.events IS
    'Every event of the log, without what it says. Key: event_id. Joins: whatever ends in event_id; aggregate_id is a session_id, definition_id or worker_id, by aggregate_type. Ranges of recorded_at are served by an index. Read model: none, the log itself, so it is never behind. Source: the log, every event.';
COMMENT ON COLUMN analytics_v1.events.event_id IS
    'Id of the event (UUIDv7). Never null. Source: the log, every event.';
COMMENT ON COLUMN analytics_v1.events.type IS
    'What happened and in which version, e.g. lablet_session.running.v1. Never null. Source: the log, every event.';
COMMENT ON COLUMN analytics_v1.events.aggregate_type IS
    'lablet_session, lablet_definition, worker or advice_policy. Never null. Source: the log, every event.';
COMMENT ON COLUMN analytics_v1.events.aggregate_id IS
    'Id of the session, definition or worker. Never null. Source: the log, every event.';
COMMENT ON COLUMN analytics_v1.events.sequence IS
    'Its place among the events of this one, from 1. Never null. Source: the log, every event.';
COMMENT ON COLUMN analytics_v1.events.recorded_at IS
    'When the log took it. Never null. Source: the log, every event.';
COMMENT ON COLUMN analytics_v1.events.actor IS
    'Who caused it, e.g. admin:ada or team:grading. Null: the log does not say. Source: the log, every event.';
COMMENT ON COLUMN analytics_v1.events.payload_bytes IS
    'Bytes of what it says, as JSON. Never null. Source: the log, every event.';
COMMENT ON COLUMN analytics_v1.events.position IS
    'Position of the event in the global order; sorts as text. Source: the log, every event.';
GRANT SELECT ON analytics_v1.events TO lablet_analyst;

CREATE VIEW analytics_v1.session_steps AS
SELECT e.aggregate_id AS session_id, s.definition_id, s.worker_id, e.sequence,
       CASE e.event_type WHEN 'lablet_session.created' THEN 'pending' ELSE substr(e.event_type, 16) END AS status,
       began.at AS since, next.at AS until,
       CASE WHEN next.at IS NOT NULL THEN greatest(extract(epoch FROM next.at - began.at), 0) END::double precision
           AS duration_seconds,
       e.recorded_at, e.metadata ->> 'actor' AS actor, e.payload ->> 'reason' AS reason, e.event_id,
       lpad(e.epoch::text, 10, '0') || '-' || lpad(e.written_by::text, 20, '0') || '-' || lpad(e.position::text, 19, '0') AS position
  FROM public.events e
 CROSS JOIN LATERAL (
       SELECT CASE WHEN stated.at ~ '^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$'
                   THEN stated.at::timestamptz ELSE e.recorded_at END AS at
         FROM (SELECT coalesce(e.payload ->> 'at', e.payload ->> 'created_at') AS at) stated) began
  LEFT JOIN LATERAL (
       SELECT CASE WHEN n.payload ->> 'at' ~ '^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$'
                   THEN (n.payload ->> 'at')::timestamptz ELSE n.recorded_at END AS at
         FROM public.events n
        WHERE n.aggregate_type = 'lablet_session' AND n.aggregate_id = e.aggregate_id AND n.sequence > e.sequence
          AND n.event_type IN ('lablet_session.created', 'lablet_session.scheduled', 'lablet_session.instantiating', 'lablet_session.ready', 'lablet_session.running', 'lablet_session.collecting', 'lablet_session.grading', 'lablet_session.stopping', 'lablet_session.stopped', 'lablet_session.archived', 'lablet_session.terminated', 'lablet_session.expired')
        ORDER BY n.sequence LIMIT 1) next ON true
  LEFT JOIN read_sessions.sessions s ON s.id = e.aggregate_id
 WHERE e.aggregate_type = 'lablet_session'
   AND e.event_type IN ('lablet_session.created', 'lablet_session.scheduled', 'lablet_session.instantiating', 'lablet_session.ready', 'lablet_session.running', 'lablet_session.collecting', 'lablet_session.grading', 'lablet_session.stopping', 'lablet_session.stopped', 'lablet_session.archived', 'lablet_session.terminated', 'lablet_session.expired');

COMMENT ON VIEW analytics_v1.session_steps IS
    'Every step of every session: what it was then, since when, until when and how long. A step that says something new without leading on, such as another timeslot, is a row of its own, so durations of one status add up. Time to boot is that of instantiating, the load of a worker over time that of running. Key: session_id, sequence. Joins: sessions by session_id, definitions by definition_id, workers by worker_id, events by event_id. Ranges of recorded_at are served by an index. Read model: none, the log itself; definition_id and worker_id come from sessions. Source: the events of a session''s life, lablet_session.created to lablet_session.terminated.';
COMMENT ON COLUMN analytics_v1.session_steps.session_id IS
    'Id of the session. Never null. Source: the events of a session''s life, lablet_session.created to lablet_session.terminated.';
COMMENT ON COLUMN analytics_v1.session_steps.definition_id IS
    'Id of its definition. Null: the read model of sessions does not know it yet. Source: the events of a session''s life, lablet_session.created to lablet_session.terminated.';
COMMENT ON COLUMN analytics_v1.session_steps.worker_id IS
    'Id of the worker that it is on. Null: none so far. Source: the events of a session''s life, lablet_session.created to lablet_session.terminated.';
COMMENT ON COLUMN analytics_v1.session_steps.sequence IS
    'Place of the step among the events of the session, from 1. Never null. Source: the events of a session''s life, lablet_session.created to lablet_session.terminated.';
COMMENT ON COLUMN analytics_v1.session_steps.status IS
    'What the session became: pending, scheduled, instantiating, ready, running, collecting, grading, stopping, stopped, archived, terminated or expired. Never null. Source: the events of a session''s life, lablet_session.created to lablet_session.terminated.';
COMMENT ON COLUMN analytics_v1.session_steps.since IS
    'When it became so, by the deciding clock. Never null. Source: the events of a session''s life, lablet_session.created to lablet_session.terminated.';
COMMENT ON COLUMN analytics_v1.session_steps.until IS
    'When its next step was taken. Null: it is so now. Source: the events of a session''s life, lablet_session.created to lablet_session.terminated.';
COMMENT ON COLUMN analytics_v1.session_steps.duration_seconds IS
    'Seconds from since to until. Null: it is so now. Source: the events of a session''s life, lablet_session.created to lablet_session.terminated.';
COMMENT ON COLUMN analytics_v1.session_steps.recorded_at IS
    'When the log took the step. Never null. Source: the events of a session''s life, lablet_session.created to lablet_session.terminated.';
COMMENT ON COLUMN analytics_v1.session_steps.actor IS
    'Who took it. Null: the log does not say. Source: the events of a session''s life, lablet_session.created to lablet_session.terminated.';
COMMENT ON COLUMN analytics_v1.session_steps.reason IS
    'Why. Null: nobody said. Source: the events of a session''s life, lablet_session.created to lablet_session.terminated.';
COMMENT ON COLUMN analytics_v1.session_steps.event_id IS
    'The event of the step. Never null. Source: the events of a session''s life, lablet_session.created to lablet_session.terminated.';
COMMENT ON COLUMN analytics_v1.session_steps.position IS
    'Position of the step in the global order; sorts as text. Source: the events of a session''s life, lablet_session.created to lablet_session.terminated.';
GRANT SELECT ON analytics_v1.session_steps TO lablet_analyst;

CREATE VIEW analytics_v1.observed_ports AS
SELECT s.id AS session_id, s.definition_id, s.worker_id, s.observed_at, p.port ->> 'name' AS port_name,
       (p.port ->> 'outside')::integer AS observed_port, (s.allocated_ports ->> (p.port ->> 'name'))::integer AS allocated_port,
       p.port ->> 'kind' AS kind, (p.port ->> 'inside')::integer AS inside_port, (p.port ->> 'line')::integer AS serial_line,
       p.port ->> 'intent' AS intent, p.port ->> 'l4_protocol' AS layer4_protocol,
       (p.port ->> 'honoured')::boolean AS honoured, p.port ->> 'node_id' AS node_id, p.port ->> 'node_label' AS node_label,
       s.observed_event_id AS event_id, s.position
  FROM read_sessions.sessions s, jsonb_array_elements(s.ports) AS p (port);

COMMENT ON VIEW analytics_v1.observed_ports IS
    'Ports that each session''s newest observation found on its nodes, with what they lead to, beside what was allocated. What was allocated and not observed is in port_drift. Key: session_id, port_name. Joins: sessions by session_id, observation_nodes by event_id and node_id. Read model: sessions. Source: lablet_session.resources_observed, and the allocation of lablet_session.scheduled and the steps after it.';
COMMENT ON COLUMN analytics_v1.observed_ports.session_id IS
    'Id of the session. Never null. Source: lablet_session.resources_observed, and the allocation of lablet_session.scheduled and the steps after it.';
COMMENT ON COLUMN analytics_v1.observed_ports.definition_id IS
    'Id of its definition. Never null. Source: lablet_session.resources_observed, and the allocation of lablet_session.scheduled and the steps after it.';
COMMENT ON COLUMN analytics_v1.observed_ports.worker_id IS
    'Id of the worker on which the port is open. Null: unknown. Source: lablet_session.resources_observed, and the allocation of lablet_session.scheduled and the steps after it.';
COMMENT ON COLUMN analytics_v1.observed_ports.observed_at IS
    'When the newest observation was made. Null: unknown. Source: lablet_session.resources_observed, and the allocation of lablet_session.scheduled and the steps after it.';
COMMENT ON COLUMN analytics_v1.observed_ports.port_name IS
    'Name of the port within the lab, as an allocation names it. Never null. Source: lablet_session.resources_observed, and the allocation of lablet_session.scheduled and the steps after it.';
COMMENT ON COLUMN analytics_v1.observed_ports.observed_port IS
    'Port number on the worker. Never null. Source: lablet_session.resources_observed, and the allocation of lablet_session.scheduled and the steps after it.';
COMMENT ON COLUMN analytics_v1.observed_ports.allocated_port IS
    'Port number that was allocated under this name. Null: none was. Source: lablet_session.resources_observed, and the allocation of lablet_session.scheduled and the steps after it.';
COMMENT ON COLUMN analytics_v1.observed_ports.kind IS
    'forward, serial, vnc or named. Never null. Source: lablet_session.resources_observed, and the allocation of lablet_session.scheduled and the steps after it.';
COMMENT ON COLUMN analytics_v1.observed_ports.inside_port IS
    'Port number of the node that a forward leads to. Null: it is no forward. Source: lablet_session.resources_observed, and the allocation of lablet_session.scheduled and the steps after it.';
COMMENT ON COLUMN analytics_v1.observed_ports.serial_line IS
    'Console line that a serial port leads to: 0 is the console. Null: it is no serial port. Source: lablet_session.resources_observed, and the allocation of lablet_session.scheduled and the steps after it.';
COMMENT ON COLUMN analytics_v1.observed_ports.intent IS
    'What a named port is for, e.g. ssh. Null: it is no named port. Source: lablet_session.resources_observed, and the allocation of lablet_session.scheduled and the steps after it.';
COMMENT ON COLUMN analytics_v1.observed_ports.layer4_protocol IS
    'tcp or udp, on the worker. Null: unknown. Source: lablet_session.resources_observed, and the allocation of lablet_session.scheduled and the steps after it.';
COMMENT ON COLUMN analytics_v1.observed_ports.honoured IS
    'Whether PATty acts on the tag. Null: unknown. Source: lablet_session.resources_observed, and the allocation of lablet_session.scheduled and the steps after it.';
COMMENT ON COLUMN analytics_v1.observed_ports.node_id IS
    'Id that CML gave to the node with the tag. Never null. Source: lablet_session.resources_observed, and the allocation of lablet_session.scheduled and the steps after it.';
COMMENT ON COLUMN analytics_v1.observed_ports.node_label IS
    'Label of that node, which may be blank. Never null. Source: lablet_session.resources_observed, and the allocation of lablet_session.scheduled and the steps after it.';
COMMENT ON COLUMN analytics_v1.observed_ports.event_id IS
    'Event of the newest observation. Null: unknown. Source: lablet_session.resources_observed, and the allocation of lablet_session.scheduled and the steps after it.';
COMMENT ON COLUMN analytics_v1.observed_ports.position IS
    'Position of the last event that this row rests on; sorts as text. Source: lablet_session.resources_observed, and the allocation of lablet_session.scheduled and the steps after it.';
GRANT SELECT ON analytics_v1.observed_ports TO lablet_analyst;

CREATE VIEW analytics_v1.node_interfaces AS
SELECT o.session_id, o.definition_id, o.worker_id, o.observed_at, o.observed_event_id AS event_id,
       n.node ->> 'node_id' AS node_id, n.node ->> 'label' AS node_label, n.node ->> 'node_definition' AS node_definition,
       (i.place - 1)::integer AS ordinal, i.interface ->> 'interface_id' AS interface_id, i.interface ->> 'label' AS label,
       (i.interface ->> 'slot')::integer AS slot, i.interface ->> 'state' AS state,
       i.interface ->> 'mac_address' AS mac_address,
       ARRAY(SELECT json_array_elements_text(
                 CASE json_typeof(i.interface -> 'ip4') WHEN 'array' THEN i.interface -> 'ip4' ELSE '[]' END)) AS ip4_addresses,
       o.position
  FROM read_observations.observed_sessions o
  JOIN public.events e ON e.event_id = o.observed_event_id
 CROSS JOIN LATERAL json_array_elements(
       CASE json_typeof(e.payload #> '{observed_resources,nodes}')
            WHEN 'array' THEN e.payload #> '{observed_resources,nodes}' ELSE '[]' END) AS n (node)
 CROSS JOIN LATERAL json_array_elements(
       CASE json_typeof(n.node -> 'interfaces') WHEN 'array' THEN n.node -> 'interfaces' ELSE '[]' END)
       WITH ORDINALITY AS i (interface, place);

COMMENT ON VIEW analytics_v1.node_interfaces IS
    'Interfaces of the nodes of each session''s newest observation. They are read from the event, so ask for some sessions or definitions. Key: session_id, node_id, ordinal. Joins: sessions by session_id, observation_nodes by event_id and node_id. Read model: observations, and the log. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.node_interfaces.session_id IS
    'Id of the session. Never null. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.node_interfaces.definition_id IS
    'Id of its definition. Never null. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.node_interfaces.worker_id IS
    'Id of the worker. Null: unknown. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.node_interfaces.observed_at IS
    'When the newest observation was made. Never null. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.node_interfaces.event_id IS
    'Event of the newest observation. Never null. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.node_interfaces.node_id IS
    'Id that CML gave to the node. Never null. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.node_interfaces.node_label IS
    'Label of the node. Null: it has none. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.node_interfaces.node_definition IS
    'What the node is, e.g. iosv. Null: unknown. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.node_interfaces.ordinal IS
    'Place of the interface among those of its node, from 0. Never null. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.node_interfaces.interface_id IS
    'Id that CML gave to the interface. Null: unknown. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.node_interfaces.label IS
    'Label of the interface, e.g. eth0. Null: unknown. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.node_interfaces.slot IS
    'Its slot. Null: it has none, as a loopback. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.node_interfaces.state IS
    'E.g. STARTED. Null: unknown. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.node_interfaces.mac_address IS
    'MAC address. Null: unknown. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.node_interfaces.ip4_addresses IS
    'IPv4 addresses that CML saw at it. Never null; empty: none. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.node_interfaces.position IS
    'Position of the last event that this row rests on; sorts as text. Source: lablet_session.resources_observed.';
GRANT SELECT ON analytics_v1.node_interfaces TO lablet_analyst;

CREATE VIEW analytics_v1.definition_deviations AS
SELECT d.id AS definition_id, d.revision AS definition_revision, r.resource, r.configured, r.observed_max,
       r.observed_max_event_id, r.needed, r.needed / nullif(r.configured, 0) AS ratio, r.known_session_count,
       r.unknown_session_count, greatest(d.position, seen.position) AS position
  FROM read_definitions.definitions d
 CROSS JOIN LATERAL (
       SELECT count(*) AS sessions, max(cpu_cores) AS cpu_cores, count(cpu_cores) AS cpu_cores_known,
              max(memory_mb) AS memory_mb, count(memory_mb) AS memory_mb_known,
              max(storage_mb) AS storage_mb, count(storage_mb) AS storage_mb_known,
              (array_agg(cpu_cores_event_id ORDER BY cpu_cores DESC NULLS LAST, observed_at DESC))[1] AS cpu_cores_event_id,
              (array_agg(memory_mb_event_id ORDER BY memory_mb DESC NULLS LAST, observed_at DESC))[1] AS memory_mb_event_id,
              (array_agg(storage_mb_event_id ORDER BY storage_mb DESC NULLS LAST, observed_at DESC))[1]
                  AS storage_mb_event_id, max(position) AS position
         FROM (SELECT * FROM read_observations.observed_sessions o
                WHERE o.definition_id = d.id ORDER BY o.observed_at DESC, o.position DESC LIMIT 20) newest) seen
 CROSS JOIN LATERAL (
       SELECT of.resource, of.configured, of.observed_max, of.observed_max_event_id, of.known_session_count,
              seen.sessions - of.known_session_count AS unknown_session_count,
              CASE WHEN of.observed_max IS NOT NULL
                   THEN greatest(ceil(of.observed_max / of.step - 1e-9), 1) * of.step END AS needed
         FROM (VALUES
               ('cpu_cores', 1::double precision, d.cpu_cores::double precision, seen.cpu_cores, seen.cpu_cores_event_id,
                seen.cpu_cores_known),
               ('memory_mb', 1024, d.memory_gb * 1024::double precision, seen.memory_mb, seen.memory_mb_event_id,
                seen.memory_mb_known),
               ('storage_mb', 1024, d.storage_gb * 1024::double precision, seen.storage_mb, seen.storage_mb_event_id,
                seen.storage_mb_known)) AS of (resource, step, configured, observed_max, observed_max_event_id,
                                               known_session_count)) r
 WHERE seen.sessions > 0;

COMMENT ON VIEW analytics_v1.definition_deviations IS
    'What each observed definition states beside the greatest of its 20 newest observed sessions, one row a definition and resource, every amount of a row in the unit that resource names. Cores and memory are nominal (what CML gave), storage is used. Key: definition_id, resource. Joins: definitions by definition_id, events by observed_max_event_id. Read models: definitions, observations. Source: lablet_session.resources_observed, lablet_definition.created and lablet_definition.revised.';
COMMENT ON COLUMN analytics_v1.definition_deviations.definition_id IS
    'Id of the definition. Never null. Source: lablet_session.resources_observed, lablet_definition.created and lablet_definition.revised.';
COMMENT ON COLUMN analytics_v1.definition_deviations.definition_revision IS
    'Its revision. Never null. Source: lablet_session.resources_observed, lablet_definition.created and lablet_definition.revised.';
COMMENT ON COLUMN analytics_v1.definition_deviations.resource IS
    'cpu_cores (amounts are cores), memory_mb or storage_mb (amounts are MB). Never null. Source: lablet_session.resources_observed, lablet_definition.created and lablet_definition.revised.';
COMMENT ON COLUMN analytics_v1.definition_deviations.configured IS
    'What the definition states: cores or MB. Never null. Source: lablet_session.resources_observed, lablet_definition.created and lablet_definition.revised.';
COMMENT ON COLUMN analytics_v1.definition_deviations.observed_max IS
    'The greatest that a session had: cores or MB. Null: no session knows it. Source: lablet_session.resources_observed, lablet_definition.created and lablet_definition.revised.';
COMMENT ON COLUMN analytics_v1.definition_deviations.observed_max_event_id IS
    'The event that the greatest comes from. Null: no session knows it. Source: lablet_session.resources_observed, lablet_definition.created and lablet_definition.revised.';
COMMENT ON COLUMN analytics_v1.definition_deviations.needed IS
    'The greatest, rounded up to whole cores or GB as a definition states them: cores or MB. Null: unknown. Source: lablet_session.resources_observed, lablet_definition.created and lablet_definition.revised.';
COMMENT ON COLUMN analytics_v1.definition_deviations.ratio IS
    'Needed by configured: 2 is twice as much, 0.5 half of it. Null: unknown. Source: lablet_session.resources_observed, lablet_definition.created and lablet_definition.revised.';
COMMENT ON COLUMN analytics_v1.definition_deviations.known_session_count IS
    'Sessions that know it, of the 20 newest. Never null. Source: lablet_session.resources_observed, lablet_definition.created and lablet_definition.revised.';
COMMENT ON COLUMN analytics_v1.definition_deviations.unknown_session_count IS
    'Sessions that do not. Never null. Source: lablet_session.resources_observed, lablet_definition.created and lablet_definition.revised.';
COMMENT ON COLUMN analytics_v1.definition_deviations.position IS
    'Position of the last event that this row rests on; sorts as text. Source: lablet_session.resources_observed, lablet_definition.created and lablet_definition.revised.';
GRANT SELECT ON analytics_v1.definition_deviations TO lablet_analyst;

-- Columns are added at the end of these views and nothing before them changes, so the rights on them stay.

CREATE OR REPLACE VIEW analytics_v1.definition_revisions AS
SELECT definition_id, revision, (before #>> '{resource_requirements,cpu_cores}')::integer AS before_cpu_cores,
       (before #>> '{resource_requirements,memory_gb}')::integer AS before_memory_gb,
       (before #>> '{resource_requirements,storage_gb}')::integer AS before_storage_gb,
       (after #>> '{resource_requirements,cpu_cores}')::integer AS after_cpu_cores,
       (after #>> '{resource_requirements,memory_gb}')::integer AS after_memory_gb,
       (after #>> '{resource_requirements,storage_gb}')::integer AS after_storage_gb,
       before AS content_before, after AS content_after, reason, evidence AS evidence_event_ids, revised_by, revised_at,
       event_id, position, revised_at AS valid_from,
       lead(revised_at) OVER (PARTITION BY definition_id ORDER BY revision) AS valid_to,
       ARRAY(SELECT e.id::uuid FROM jsonb_array_elements_text(evidence) WITH ORDINALITY AS e (id, place)
              WHERE e.id ~* '^[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}$' ORDER BY e.place) AS evidence_ids
  FROM read_definitions.revisions;

COMMENT ON COLUMN analytics_v1.definition_revisions.valid_from IS
    'Since when the definition states this. Never null. Source: lablet_definition.created and lablet_definition.revised.';
COMMENT ON COLUMN analytics_v1.definition_revisions.valid_to IS
    'Until when it did. Null: it does now. Source: lablet_definition.created and lablet_definition.revised.';
COMMENT ON COLUMN analytics_v1.definition_revisions.evidence_ids IS
    'The events that the revision rests on, as evidence_event_ids, which is kept as JSON for statements that have it. Never null; empty: none. Source: lablet_definition.created and lablet_definition.revised.';

CREATE OR REPLACE VIEW analytics_v1.sessions AS
SELECT s.id AS session_id, s.definition_id, s.definition_version, s.definition_revision, s.owner_id, s.status, s.status_reason,
       s.status_since, s.worker_id, s.cml_lab_id, s.allocated_ports, s.observed_ports, s.port_drift_detected, s.port_drift,
       s.verdict_observed_at AS port_drift_observed_at, s.verdict_event_id AS port_drift_event_id,
       s.drift_since AS port_drift_since, s.unallocated AS unallocated_ports, s.observation_count, s.observed_at,
       s.observed_event_id, s.observation_complete, s.open_requests AS open_request_count, s.timeslot_start, s.timeslot_end,
       s.created_at, s.updated_at, s.sequence, s.position, s.nominal_cpu_cores, s.nominal_memory_mb, o.used_cpu_cores,
       o.used_memory_mb, o.used_storage_mb
  FROM read_sessions.sessions s
  LEFT JOIN read_observations.observations o ON o.event_id = s.observed_event_id;

COMMENT ON COLUMN analytics_v1.sessions.nominal_cpu_cores IS
    'Cores that CML gave its nodes, by the newest observation. Null: unknown. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.sessions.nominal_memory_mb IS
    'MB of memory that CML gave its nodes, by the newest observation. Null: unknown. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.sessions.used_cpu_cores IS
    'Cores in use, by the newest observation. Null: unknown. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.sessions.used_memory_mb IS
    'MB of memory in use, by the newest observation. Null: unknown. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.sessions.used_storage_mb IS
    'MB on disk, by the newest observation. Null: unknown. Source: lablet_session.resources_observed.';

CREATE OR REPLACE VIEW analytics_v1.definition_observation_totals AS
SELECT o.definition_id, count(*) AS observed_sessions, sum(o.observation_count)::bigint AS observation_count,
       max(o.cpu_cores) AS nominal_cpu_cores_max,
       avg(o.cpu_cores) AS nominal_cpu_cores_avg,
       (array_agg(o.cpu_cores ORDER BY o.observed_at DESC, o.position DESC) FILTER (WHERE o.cpu_cores IS NOT NULL))[1] AS nominal_cpu_cores_latest,
       count(*) FILTER (WHERE o.cpu_cores IS NULL) AS nominal_cpu_cores_unknown_sessions,
       max(o.memory_mb) AS nominal_memory_mb_max,
       avg(o.memory_mb) AS nominal_memory_mb_avg,
       (array_agg(o.memory_mb ORDER BY o.observed_at DESC, o.position DESC) FILTER (WHERE o.memory_mb IS NOT NULL))[1] AS nominal_memory_mb_latest,
       count(*) FILTER (WHERE o.memory_mb IS NULL) AS nominal_memory_mb_unknown_sessions,
       max(o.storage_mb) AS used_storage_mb_max,
       avg(o.storage_mb) AS used_storage_mb_avg,
       (array_agg(o.storage_mb ORDER BY o.observed_at DESC, o.position DESC) FILTER (WHERE o.storage_mb IS NOT NULL))[1] AS used_storage_mb_latest,
       count(*) FILTER (WHERE o.storage_mb IS NULL) AS used_storage_mb_unknown_sessions,
       max(o.node_count) AS node_count_max,
       avg(o.node_count)::double precision AS node_count_avg,
       (array_agg(o.node_count ORDER BY o.observed_at DESC, o.position DESC) FILTER (WHERE o.node_count IS NOT NULL))[1] AS node_count_latest,
       count(*) FILTER (WHERE o.node_count IS NULL) AS node_count_unknown_sessions,
       count(*) FILTER (WHERE o.port_drift_detected) AS port_drift_sessions,
       count(*) FILTER (WHERE o.port_drift_detected IS NULL) AS port_drift_unknown_sessions,
       max(o.observed_at) AS last_observed_at, max(o.position) AS position,
       max(d.cpu_cores) AS used_cpu_cores_max,
       avg(d.cpu_cores) AS used_cpu_cores_avg,
       (array_agg(d.cpu_cores ORDER BY o.observed_at DESC, o.position DESC) FILTER (WHERE d.cpu_cores IS NOT NULL))[1] AS used_cpu_cores_latest,
       count(*) FILTER (WHERE d.cpu_cores IS NULL) AS used_cpu_cores_unknown_sessions,
       max(d.memory_mb) AS used_memory_mb_max,
       avg(d.memory_mb) AS used_memory_mb_avg,
       (array_agg(d.memory_mb ORDER BY o.observed_at DESC, o.position DESC) FILTER (WHERE d.memory_mb IS NOT NULL))[1] AS used_memory_mb_latest,
       count(*) FILTER (WHERE d.memory_mb IS NULL) AS used_memory_mb_unknown_sessions
  FROM read_observations.observed_sessions o
  LEFT JOIN read_demands.sessions d ON d.session_id = o.session_id
 GROUP BY o.definition_id;

COMMENT ON COLUMN analytics_v1.definition_observation_totals.used_cpu_cores_max IS
    'Greatest demand of a session (Cores in use at its peak over its steady phase). Null: no session knows it. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.definition_observation_totals.used_cpu_cores_avg IS
    'Mean demand over the sessions that know it (cores). Null: no session knows it. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.definition_observation_totals.used_cpu_cores_latest IS
    'Demand of the session that was observed last, of those that know it (cores). Null: no session knows it. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.definition_observation_totals.used_cpu_cores_unknown_sessions IS
    'Observed sessions that do not know their demand. Never null. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.definition_observation_totals.used_memory_mb_max IS
    'Greatest demand of a session (MB of memory in use at its peak over its steady phase). Null: no session knows it. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.definition_observation_totals.used_memory_mb_avg IS
    'Mean demand over the sessions that know it (MB). Null: no session knows it. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.definition_observation_totals.used_memory_mb_latest IS
    'Demand of the session that was observed last, of those that know it (MB). Null: no session knows it. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.definition_observation_totals.used_memory_mb_unknown_sessions IS
    'Observed sessions that do not know their demand. Never null. Source: lablet_session.resources_observed.';

-- Counters that were numeric: no library makes a whole number of that. What is beyond bigint, which no disk ever is, is the
-- greatest bigint. The type of a column cannot be replaced, so the view is made anew, with its comments and rights.
DO $$
DECLARE
    comments text;
BEGIN
    SELECT string_agg(format('COMMENT ON COLUMN analytics_v1.observation_nodes.%I IS %L', a.attname,
                             col_description(a.attrelid, a.attnum)), '; ')
           || format('; COMMENT ON VIEW analytics_v1.observation_nodes IS %L',
                     obj_description('analytics_v1.observation_nodes'::regclass, 'pg_class'))
      INTO comments
      FROM pg_attribute a WHERE a.attrelid = 'analytics_v1.observation_nodes'::regclass AND a.attnum > 0;
    DROP VIEW analytics_v1.observation_nodes;
    CREATE VIEW analytics_v1.observation_nodes AS
    SELECT n.event_id, n.ordinal, o.session_id, o.definition_id, o.observed_at, n.node_id, n.label, n.node_definition,
           n.image_definition, n.state, n.cpus AS virtual_cpu_count, n.cpu_limit_percent, n.nominal_cpu_cores,
           n.nominal_memory_mb, n.used_cpu_percent, n.used_cpu_cores, n.used_memory_mb, n.used_storage_mb,
           (CASE WHEN n.disk_read_bytes > 9223372036854775807 THEN 9223372036854775807
                 ELSE n.disk_read_bytes END)::bigint AS disk_read_bytes,
           (CASE WHEN n.disk_written_bytes > 9223372036854775807 THEN 9223372036854775807
                 ELSE n.disk_written_bytes END)::bigint AS disk_written_bytes,
           (CASE WHEN n.booted_seconds > 9223372036854775807 THEN 9223372036854775807
                 ELSE n.booted_seconds END)::bigint AS booted_seconds, o.position
      FROM read_observations.observation_nodes n
      JOIN read_observations.observations o ON o.event_id = n.event_id;
    EXECUTE comments;
    GRANT SELECT ON analytics_v1.observation_nodes TO lablet_analyst;
END
$$;

-- Where people look: the key of each view, what it joins with, and the read model whose freshness it has.
DO $$
DECLARE
    about text[];
BEGIN
    FOREACH about SLICE 1 IN ARRAY ARRAY[
        ['sessions', 'session_id', 'definitions by definition_id, workers by worker_id, observations by observed_event_id', 'sessions; what was used comes from observations'],
        ['observations', 'event_id', 'sessions by session_id, definitions by definition_id, workers by worker_id. Ranges of observed_at are served by an index', 'observations'],
        ['observation_nodes', 'event_id, ordinal', 'observations by event_id, node_pools by kind of node', 'observations'],
        ['definition_observation_totals', 'definition_id', 'definitions by definition_id', 'observations; demands, of what was used'],
        ['port_drift', 'observation_event_id, kind, port_name', 'observations by observation_event_id, sessions by session_id', 'observations'],
        ['observation_requests', 'session_id, request_id', 'sessions by session_id, observations by outcome_event_id', 'observation_requests'],
        ['definitions', 'definition_id', 'definition_revisions by definition_id and revision', 'definitions'],
        ['definition_revisions', 'definition_id, revision', 'definitions by definition_id, events by event_id; sessions by definition_id and definition_revision', 'definitions'],
        ['workers', 'worker_id', 'sessions by worker_id, worker_pressure by worker_id', 'workers'],
        ['freshness', 'projection', 'none', 'all: where each of them is'],
        ['session_demands', 'session_id, resource', 'sessions by session_id, events by demand_event_id', 'demands'],
        ['node_demands', 'session_id, node_id', 'sessions by session_id, node_pools by kind of node', 'demands'],
        ['node_pools', 'node_definition, image_definition, nominal_cpu_cores, nominal_memory_mb, resource', 'node_demands by kind of node, with IS NOT DISTINCT FROM', 'demands'],
        ['worker_pressure', 'worker_id', 'workers by worker_id', 'workers'],
        ['worker_pressure_spells', 'worker_id, spell_number', 'workers by worker_id', 'workers'],
        ['session_evidence', 'session_id, resource', 'sessions by session_id, events by demand_event_id. Ranges of ended_at are served by an index', 'advice'],
        ['advice_scores', 'session_id, resource', 'session_evidence by session_id and resource', 'advice'],
        ['advice_misses', 'session_id, resource', 'session_evidence by session_id and resource', 'advice'],
        ['proposals', 'proposal_id', 'definitions by definition_id, definition_revisions by definition_id and revision', 'advice'],
        ['definition_recommendations', 'definition_id, resource', 'definitions by definition_id, definition_deviations by definition_id and resource', 'advice']
    ] LOOP
        EXECUTE format('COMMENT ON VIEW analytics_v1.%I IS %L', about[1], format('%s Key: %s. Joins: %s. Read model: %s.',
            obj_description(('analytics_v1.' || about[1])::regclass, 'pg_class'), about[2], about[3], about[4]));
    END LOOP;
END
$$;

COMMENT ON SCHEMA analytics_v1 IS
    'What analysts read. Units are in the names: 1 GB is 1024 MB, and 1 MB is 1024 * 1024 bytes, as CML reckons. Configured is what a definition states, nominal what CML gave to nodes, used what was measured: never compare one with another unless that is the question. Null is unknown. The comment of each view names its key, what it joins with and its read model, of which analytics_v1.freshness says how far it is. Names and types within v1 stay.';

RESET ROLE;
SET LOCAL search_path = public;

-- A login finds the views without their schema, and changes nothing by mistake.
ALTER TABLE analyst_limits DROP CONSTRAINT analyst_limits_setting_check;
ALTER TABLE analyst_limits ADD CONSTRAINT analyst_limits_setting_check CHECK (setting IN (
    'statement_timeout', 'idle_in_transaction_session_timeout', 'idle_session_timeout', 'lock_timeout',
    'transaction_timeout', 'work_mem', 'temp_file_limit', 'connection_limit', 'search_path',
    'default_transaction_read_only'));
INSERT INTO analyst_limits (setting, value) VALUES
    ('search_path', 'analytics_v1'),
    ('default_transaction_read_only', 'on');
COMMENT ON TABLE analyst_limits IS 'Limits and settings of every login that is a member of lablet_analyst.';
SELECT count(*) FROM confine_analysts(true);
