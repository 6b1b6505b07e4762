-- What analysts see: views only, under names and types that never change within v1.
--
-- A column is added at the end of a view, with its comment; anything else is a v2. A rebuild of a read model points the
-- views to the new tables.

CREATE SCHEMA analytics_v1 AUTHORIZATION lablet_app;

-- Views are asked with the rights of their owner, who owns what they read.
SET LOCAL ROLE lablet_app;

COMMENT ON SCHEMA analytics_v1 IS
    'Lablet for analysts, version 1. Names end in their unit; times are timestamptz; null is unknown unless a comment says otherwise.';
GRANT USAGE ON SCHEMA analytics_v1 TO lablet_analyst;

CREATE VIEW analytics_v1.sessions AS
SELECT id AS session_id, definition_id, definition_version, definition_revision, owner_id, status, status_reason,
       status_since, worker_id, cml_lab_id, allocated_ports, observed_ports, port_drift_detected, port_drift,
       verdict_observed_at AS port_drift_observed_at, verdict_event_id AS port_drift_event_id,
       drift_since AS port_drift_since, unallocated AS unallocated_ports, observation_count, observed_at,
       observed_event_id, observation_complete, open_requests AS open_request_count, timeslot_start, timeslot_end,
       created_at, updated_at, sequence, position
  FROM read_sessions.sessions;

COMMENT ON VIEW analytics_v1.sessions IS
    'Sessions as they are now, one row each. Source: all lablet_session events.';
COMMENT ON COLUMN analytics_v1.sessions.session_id IS
    'Id of the session. Never null. Source: lablet_session.created.';
COMMENT ON COLUMN analytics_v1.sessions.definition_id IS
    'Id of its definition. Never null. Source: lablet_session.created.';
COMMENT ON COLUMN analytics_v1.sessions.definition_version IS
    'Version that the definition''s author gave it. Never null. Source: lablet_session.created.';
COMMENT ON COLUMN analytics_v1.sessions.definition_revision IS
    'Revision of the definition when the session was created, counted from 1. Never null. Source: lablet_session.created.';
COMMENT ON COLUMN analytics_v1.sessions.owner_id IS
    'For whom it is. Null: nobody was named. Source: lablet_session.created.';
COMMENT ON COLUMN analytics_v1.sessions.status IS
    'State: pending, scheduled, instantiating, ready, running, collecting, grading, stopping, stopped, archived, terminated or expired. Never null. Source: the event of the newest step.';
COMMENT ON COLUMN analytics_v1.sessions.status_reason IS
    'Why it came into this state. Null: no reason was given. Source: the event of the newest step.';
COMMENT ON COLUMN analytics_v1.sessions.status_since IS
    'When it came into this state. Never null. Source: the event of the newest step.';
COMMENT ON COLUMN analytics_v1.sessions.worker_id IS
    'Id of its worker. Null: not scheduled yet. Source: lablet_session.scheduled and later steps.';
COMMENT ON COLUMN analytics_v1.sessions.cml_lab_id IS
    'CML''s id of its lab. Null: no lab yet. Source: lablet_session.running or an earlier step.';
COMMENT ON COLUMN analytics_v1.sessions.allocated_ports IS
    'Allocated outside ports by name, as a JSON object of numbers. Null: nothing was allocated. Source: lablet_session.scheduled and later steps.';
COMMENT ON COLUMN analytics_v1.sessions.observed_ports IS
    'Observed outside ports by name, as a JSON object of numbers. Null: no observation could read the tags yet. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.sessions.port_drift_detected IS
    'Whether the observed ports differ from the allocated ones. Null: unknown, not no. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.sessions.port_drift IS
    'What differs: JSON object with added, removed and changed. Null: unknown. Source: lablet_session.port_drift_detected.';
COMMENT ON COLUMN analytics_v1.sessions.port_drift_observed_at IS
    'When the observation was made that port_drift_detected rests on. Null: there is none. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.sessions.port_drift_event_id IS
    'Event that port_drift_detected rests on. Null: there is none. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.sessions.port_drift_since IS
    'Since when observations have been saying that the ports drifted. Null: they do not. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.sessions.unallocated_ports IS
    'Ports that were observed where nothing was allocated, as a JSON object of numbers. Null: something was allocated, or nothing was observed. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.sessions.observation_count IS
    'Number of observations. Never null. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.sessions.observed_at IS
    'When the newest observation was made. Null: there is none. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.sessions.observed_event_id IS
    'Event of the newest observation. Null: there is none. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.sessions.observation_complete IS
    'Whether the newest observation saw everything. Null: its sender did not say, or there is none. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.sessions.open_request_count IS
    'Number of requests for an observation without an outcome. Never null. Source: lablet_session.observe_resources_requested and its outcomes.';
COMMENT ON COLUMN analytics_v1.sessions.timeslot_start IS
    'Start of its timeslot. Null: not booked for a time. Source: lablet_session.created and later steps.';
COMMENT ON COLUMN analytics_v1.sessions.timeslot_end IS
    'End of its timeslot. Null: not booked for a time. Source: lablet_session.created and later steps.';
COMMENT ON COLUMN analytics_v1.sessions.created_at IS
    'When it was created. Never null. Source: lablet_session.created.';
COMMENT ON COLUMN analytics_v1.sessions.updated_at IS
    'When its last event happened. Never null. Source: every lablet_session event.';
COMMENT ON COLUMN analytics_v1.sessions.sequence IS
    'Number of its events. Never null. Source: every lablet_session event.';
COMMENT ON COLUMN analytics_v1.sessions.position IS
    'Position of the last event that this row rests on; sorts as text. Source: the log''s global order.';

CREATE VIEW analytics_v1.observations AS
SELECT event_id, session_id, definition_id, definition_version, definition_revision, worker_id, cml_lab_id, observed_at,
       recorded_at, observer, reported_by, request_id, nominal_cpu_cores, nominal_memory_mb, nominal_storage_mb,
       nominal_unknown_cpu_nodes, nominal_unknown_memory_nodes, nominal_unknown_storage_nodes, used_cpu_cores,
       used_memory_mb, used_storage_mb, used_unknown_cpu_nodes, used_unknown_memory_nodes, used_unknown_storage_nodes,
       highest_cpu_percent AS used_highest_cpu_percent, node_count, nodes_booted AS booted_node_count,
       node_definitions_used, complete, phase, failed_reads, unreadable_entries, observed_ports, port_drift_detected,
       unallocated AS unallocated_ports, cml_version, topology_fingerprint, position
  FROM read_observations.observations;

COMMENT ON VIEW analytics_v1.observations IS
    'Observations, one row each. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.observations.event_id IS
    'Event that recorded the observation. Never null. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.observations.session_id IS
    'Id of the session. Never null. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.observations.definition_id IS
    'Id of the session''s definition. Never null. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.observations.definition_version IS
    'Version that the definition''s author gave it. Never null. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.observations.definition_revision IS
    'Revision of the definition when the session was created, counted from 1. Never null. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.observations.worker_id IS
    'Id of the worker on which the lab ran. Null: the log does not say. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.observations.cml_lab_id IS
    'CML''s id of the lab. Null: the log does not say. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.observations.observed_at IS
    'When the lab was read. Never null. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.observations.recorded_at IS
    'When the observation was recorded. Never null. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.observations.observer IS
    'Who observed, e.g. controller. Null: the log does not say. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.observations.reported_by IS
    'Who sent the report. Null: the log does not say. Source: the event''s metadata.';
COMMENT ON COLUMN analytics_v1.observations.request_id IS
    'Request that it answers. Null: nobody had asked. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.observations.nominal_cpu_cores IS
    'Cores that CML gave all nodes together: sum of virtual CPUs times CPU limit. Null: unknown. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.observations.nominal_memory_mb IS
    'Megabytes of memory that CML gave all nodes together. Null: unknown. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.observations.nominal_storage_mb IS
    'Megabytes of disk that CML gave all nodes together. Null: unknown. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.observations.nominal_unknown_cpu_nodes IS
    'Number of nodes whose nominal cores are unknown. Null: the sender did not say. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.observations.nominal_unknown_memory_nodes IS
    'Number of nodes whose nominal memory is unknown. Null: the sender did not say. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.observations.nominal_unknown_storage_nodes IS
    'Number of nodes whose nominal disk is unknown. Null: the sender did not say. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.observations.used_cpu_cores IS
    'Cores in use by all nodes together. Null: unknown, also when it is unknown for one node only. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.observations.used_memory_mb IS
    'Megabytes of memory in use by all nodes together. Null: unknown. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.observations.used_storage_mb IS
    'Megabytes of disk in use by all nodes together. Null: unknown. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.observations.used_unknown_cpu_nodes IS
    'Number of nodes whose CPU use is unknown. Null: the sender did not say. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.observations.used_unknown_memory_nodes IS
    'Number of nodes whose memory use is unknown. Null: the sender did not say. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.observations.used_unknown_storage_nodes IS
    'Number of nodes whose disk use is unknown. Null: the sender did not say. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.observations.used_highest_cpu_percent IS
    'Highest CPU use of one node as CML states it, in percent; may exceed 100. Null: unknown. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.observations.node_count IS
    'Number of nodes. Null: unknown. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.observations.booted_node_count IS
    'Number of nodes that had booted. Null: unknown. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.observations.node_definitions_used IS
    'Node definitions in use, as a JSON array of texts. Never null. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.observations.complete IS
    'Whether every read answered and every node had booted. Null: the sender did not say. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.observations.phase IS
    'What the lab was doing: boot, steady, stopped or unknown. Null: the sender did not say. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.observations.failed_reads IS
    'Reads of the controller that failed, as a JSON array of read and reason. Never null. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.observations.unreadable_entries IS
    'Entries of CML''s answers that could not be read, as a JSON array of read and reason. Never null. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.observations.observed_ports IS
    'Observed outside ports by name, as a JSON object of numbers. Null: the tags could not be read. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.observations.port_drift_detected IS
    'Whether the observed ports differ from the allocated ones. Null: unknown, not no. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.observations.unallocated_ports IS
    'Ports that were observed where nothing was allocated, as a JSON object of numbers. Null: something was allocated, or the tags could not be read. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.observations.cml_version IS
    'Version of the controller. Null: unknown. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.observations.topology_fingerprint IS
    'Hash of the topology; equal for equal topologies. Null: unknown. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.observations.position IS
    'Position of the event; sorts as text. Source: the log''s global order.';

CREATE VIEW analytics_v1.observation_nodes AS
SELECT event_id, ordinal, session_id, definition_id, observed_at, node_id, label, node_definition, image_definition, state,
       cpus AS virtual_cpu_count, cpu_limit_percent, nominal_cpu_cores, nominal_memory_mb, used_cpu_percent,
       used_cpu_cores, used_memory_mb, used_storage_mb, disk_read_bytes, disk_written_bytes, booted_seconds, position
  FROM read_observations.observation_nodes;

COMMENT ON VIEW analytics_v1.observation_nodes IS
    'Nodes of observations, one row per node and observation. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.observation_nodes.event_id IS
    'Event that recorded the observation. Never null. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.observation_nodes.ordinal IS
    'Place of the node in the observation, from 0. Never null. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.observation_nodes.session_id IS
    'Id of the session. Never null. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.observation_nodes.definition_id IS
    'Id of the session''s definition. Never null. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.observation_nodes.observed_at IS
    'When the lab was read. Never null. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.observation_nodes.node_id IS
    'CML''s id of the node. Never null. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.observation_nodes.label IS
    'Label of the node; may be blank. Never null. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.observation_nodes.node_definition IS
    'What the node is, e.g. iosv; empty: unknown. Never null. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.observation_nodes.image_definition IS
    'Image in use. Null: unknown. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.observation_nodes.state IS
    'State as CML names it, e.g. BOOTED. Null: unknown. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.observation_nodes.virtual_cpu_count IS
    'Number of virtual CPUs. Null: unknown. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.observation_nodes.cpu_limit_percent IS
    'Share of each virtual CPU that it may use, in percent. Null: unknown. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.observation_nodes.nominal_cpu_cores IS
    'Cores that CML gave it: virtual CPUs times limit. Null: unknown. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.observation_nodes.nominal_memory_mb IS
    'Megabytes of memory that CML gave it. Null: unknown. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.observation_nodes.used_cpu_percent IS
    'CPU use as CML states it, in percent; may exceed 100. Null: not measured. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.observation_nodes.used_cpu_cores IS
    'Cores in use. Null: not measured. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.observation_nodes.used_memory_mb IS
    'Megabytes of memory in use. Null: not measured. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.observation_nodes.used_storage_mb IS
    'Megabytes on disk. Null: not measured. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.observation_nodes.disk_read_bytes IS
    'Bytes read from its first disk since it started. Null: not measured. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.observation_nodes.disk_written_bytes IS
    'Bytes written to its first disk since it started. Null: not measured. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.observation_nodes.booted_seconds IS
    'Seconds since it had booted. Null: not booted, or unknown. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.observation_nodes.position IS
    'Position of the event; sorts as text. Source: the log''s global order.';

CREATE VIEW analytics_v1.definition_observation_totals AS
SELECT definition_id, count(*) AS observed_sessions, sum(observation_count)::bigint AS observation_count,
       max(cpu_cores) AS nominal_cpu_cores_max,
       avg(cpu_cores) AS nominal_cpu_cores_avg,
       (array_agg(cpu_cores ORDER BY observed_at DESC, position DESC) FILTER (WHERE cpu_cores IS NOT NULL))[1] AS nominal_cpu_cores_latest,
       count(*) FILTER (WHERE cpu_cores IS NULL) AS nominal_cpu_cores_unknown_sessions,
       max(memory_mb) AS nominal_memory_mb_max,
       avg(memory_mb) AS nominal_memory_mb_avg,
       (array_agg(memory_mb ORDER BY observed_at DESC, position DESC) FILTER (WHERE memory_mb IS NOT NULL))[1] AS nominal_memory_mb_latest,
       count(*) FILTER (WHERE memory_mb IS NULL) AS nominal_memory_mb_unknown_sessions,
       max(storage_mb) AS used_storage_mb_max,
       avg(storage_mb) AS used_storage_mb_avg,
       (array_agg(storage_mb ORDER BY observed_at DESC, position DESC) FILTER (WHERE storage_mb IS NOT NULL))[1] AS used_storage_mb_latest,
       count(*) FILTER (WHERE storage_mb IS NULL) AS used_storage_mb_unknown_sessions,
       max(node_count) AS node_count_max,
       avg(node_count)::double precision AS node_count_avg,
       (array_agg(node_count ORDER BY observed_at DESC, position DESC) FILTER (WHERE node_count IS NOT NULL))[1] AS node_count_latest,
       count(*) FILTER (WHERE node_count IS NULL) AS node_count_unknown_sessions,
       count(*) FILTER (WHERE port_drift_detected) AS port_drift_sessions,
       count(*) FILTER (WHERE port_drift_detected IS NULL) AS port_drift_unknown_sessions,
       max(observed_at) AS last_observed_at, max(position) AS position
  FROM read_observations.observed_sessions GROUP BY definition_id;

COMMENT ON VIEW analytics_v1.definition_observation_totals IS
    'What all observed sessions of a definition say together, one row per definition that was observed. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.definition_observation_totals.definition_id IS
    'Id of the definition. Never null. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.definition_observation_totals.observed_sessions IS
    'Number of its sessions that were observed. Never null. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.definition_observation_totals.observation_count IS
    'Number of their observations. Never null. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.definition_observation_totals.nominal_cpu_cores_max IS
    'Nominal cores, in cores: the greatest over the sessions, each with its newest known number. Null: no session knows it. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.definition_observation_totals.nominal_cpu_cores_avg IS
    'Nominal cores, in cores: the mean over the sessions that know it. Null: no session knows it. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.definition_observation_totals.nominal_cpu_cores_latest IS
    'Nominal cores, in cores: of the most recently observed session that knows it. Null: no session knows it. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.definition_observation_totals.nominal_cpu_cores_unknown_sessions IS
    'Nominal cores: number of sessions that do not know it and are left out. Never null. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.definition_observation_totals.nominal_memory_mb_max IS
    'Nominal memory, in megabytes: the greatest over the sessions, each with its newest known number. Null: no session knows it. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.definition_observation_totals.nominal_memory_mb_avg IS
    'Nominal memory, in megabytes: the mean over the sessions that know it. Null: no session knows it. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.definition_observation_totals.nominal_memory_mb_latest IS
    'Nominal memory, in megabytes: of the most recently observed session that knows it. Null: no session knows it. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.definition_observation_totals.nominal_memory_mb_unknown_sessions IS
    'Nominal memory: number of sessions that do not know it and are left out. Never null. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.definition_observation_totals.used_storage_mb_max IS
    'Used disk, in megabytes: the greatest over the sessions, each with its newest known number. Null: no session knows it. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.definition_observation_totals.used_storage_mb_avg IS
    'Used disk, in megabytes: the mean over the sessions that know it. Null: no session knows it. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.definition_observation_totals.used_storage_mb_latest IS
    'Used disk, in megabytes: of the most recently observed session that knows it. Null: no session knows it. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.definition_observation_totals.used_storage_mb_unknown_sessions IS
    'Used disk: number of sessions that do not know it and are left out. Never null. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.definition_observation_totals.node_count_max IS
    'Nodes, in a number: the greatest over the sessions, each with its newest known number. Null: no session knows it. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.definition_observation_totals.node_count_avg IS
    'Nodes, in a number: the mean over the sessions that know it. Null: no session knows it. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.definition_observation_totals.node_count_latest IS
    'Nodes, in a number: of the most recently observed session that knows it. Null: no session knows it. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.definition_observation_totals.node_count_unknown_sessions IS
    'Nodes: number of sessions that do not know it and are left out. Never null. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.definition_observation_totals.port_drift_sessions IS
    'Number of sessions whose newest verdict is that their ports drifted. Never null. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.definition_observation_totals.port_drift_unknown_sessions IS
    'Number of sessions of whose ports nothing is known. Never null. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.definition_observation_totals.last_observed_at IS
    'When the newest observation was made. Never null. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.definition_observation_totals.position IS
    'Position of the last event that this row rests on; sorts as text. Source: the log''s global order.';

CREATE VIEW analytics_v1.port_drift AS
SELECT o.port_drift_event_id AS event_id, o.event_id AS observation_event_id, o.session_id, o.definition_id, o.worker_id,
       o.observed_at, drifted.kind, drifted.port_name, drifted.allocated_port, drifted.observed_port, o.position
  FROM read_observations.observations o
 CROSS JOIN LATERAL (
       SELECT 'added' AS kind, key AS port_name, NULL::integer AS allocated_port, value::integer AS observed_port
         FROM jsonb_each_text(o.port_drift -> 'added')
       UNION ALL
       SELECT 'removed', key, value::integer, NULL FROM jsonb_each_text(o.port_drift -> 'removed')
       UNION ALL
       SELECT 'changed', key, (value ->> 'allocated')::integer, (value ->> 'observed')::integer
         FROM jsonb_each(o.port_drift -> 'changed')) drifted
 WHERE o.port_drift IS NOT NULL;

COMMENT ON VIEW analytics_v1.port_drift IS
    'Ports that drifted, one row per observation and port. Source: lablet_session.port_drift_detected.';
COMMENT ON COLUMN analytics_v1.port_drift.event_id IS
    'Event that says how the ports drifted. Never null. Source: lablet_session.port_drift_detected.';
COMMENT ON COLUMN analytics_v1.port_drift.observation_event_id IS
    'Event of the observation. Never null. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.port_drift.session_id IS
    'Id of the session. Never null. Source: lablet_session.port_drift_detected.';
COMMENT ON COLUMN analytics_v1.port_drift.definition_id IS
    'Id of the session''s definition. Never null. Source: lablet_session.port_drift_detected.';
COMMENT ON COLUMN analytics_v1.port_drift.worker_id IS
    'Id of the worker. Null: the log does not say. Source: lablet_session.port_drift_detected.';
COMMENT ON COLUMN analytics_v1.port_drift.observed_at IS
    'When the lab was read. Never null. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.port_drift.kind IS
    'added: observed, not allocated. removed: allocated, not observed. changed: with another number. Never null. Source: lablet_session.port_drift_detected.';
COMMENT ON COLUMN analytics_v1.port_drift.port_name IS
    'Compatible name of the port. Never null. Source: lablet_session.port_drift_detected.';
COMMENT ON COLUMN analytics_v1.port_drift.allocated_port IS
    'Allocated outside port number. Null: it was added. Source: lablet_session.port_drift_detected.';
COMMENT ON COLUMN analytics_v1.port_drift.observed_port IS
    'Observed outside port number. Null: it was removed. Source: lablet_session.port_drift_detected.';
COMMENT ON COLUMN analytics_v1.port_drift.position IS
    'Position of the observation; sorts as text. Source: the log''s global order.';

CREATE VIEW analytics_v1.observation_requests AS
SELECT request_id, session_id, definition_id, worker_id, cml_lab_id, requested_by, requested_at, requested_event_id, outcome,
       reason, finished_at, extract(epoch FROM finished_at - requested_at)::double precision AS duration_seconds,
       outcome_event_id, position
  FROM read_observation_requests.observation_requests;

COMMENT ON VIEW analytics_v1.observation_requests IS
    'Requests for observations, one row each. Source: lablet_session.observe_resources_requested and its outcome.';
COMMENT ON COLUMN analytics_v1.observation_requests.request_id IS
    'Id of the request; unique within its session. Never null. Source: lablet_session.observe_resources_requested.';
COMMENT ON COLUMN analytics_v1.observation_requests.session_id IS
    'Id of the session. Never null. Source: lablet_session.observe_resources_requested.';
COMMENT ON COLUMN analytics_v1.observation_requests.definition_id IS
    'Id of the session''s definition. Never null. Source: lablet_session.observe_resources_requested.';
COMMENT ON COLUMN analytics_v1.observation_requests.worker_id IS
    'Id of the worker on which the lab runs. Never null. Source: lablet_session.observe_resources_requested.';
COMMENT ON COLUMN analytics_v1.observation_requests.cml_lab_id IS
    'CML''s id of the lab. Never null. Source: lablet_session.observe_resources_requested.';
COMMENT ON COLUMN analytics_v1.observation_requests.requested_by IS
    'Who asked. Never null. Source: lablet_session.observe_resources_requested.';
COMMENT ON COLUMN analytics_v1.observation_requests.requested_at IS
    'When. Never null. Source: lablet_session.observe_resources_requested.';
COMMENT ON COLUMN analytics_v1.observation_requests.requested_event_id IS
    'Event of the request. Never null. Source: lablet_session.observe_resources_requested.';
COMMENT ON COLUMN analytics_v1.observation_requests.outcome IS
    'open, recorded, failed or skipped. Never null. Source: lablet_session.resources_observed or lablet_session.observation_failed.';
COMMENT ON COLUMN analytics_v1.observation_requests.reason IS
    'Why it failed or was skipped. Null: it did not, or is open. Source: lablet_session.observation_failed.';
COMMENT ON COLUMN analytics_v1.observation_requests.finished_at IS
    'When it ended. Null: it is open. Source: lablet_session.resources_observed or lablet_session.observation_failed.';
COMMENT ON COLUMN analytics_v1.observation_requests.duration_seconds IS
    'Seconds from the request to its outcome. Null: it is open. Source: both events.';
COMMENT ON COLUMN analytics_v1.observation_requests.outcome_event_id IS
    'Event that ended it. Null: it is open. Source: lablet_session.resources_observed or lablet_session.observation_failed.';
COMMENT ON COLUMN analytics_v1.observation_requests.position IS
    'Position of the last event that this row rests on; sorts as text. Source: the log''s global order.';

CREATE VIEW analytics_v1.definitions AS
SELECT d.id AS definition_id, d.name, d.version, d.revision, d.cpu_cores AS configured_cpu_cores,
       d.memory_gb AS configured_memory_gb, d.storage_gb AS configured_storage_gb,
       d.node_count AS configured_node_count, d.port_template, d.description,
       coalesce(i.observation_count, 0) AS observation_count, coalesce(i.observed_sessions, 0) AS observed_sessions,
       coalesce(i.drift_sessions, 0) AS port_drift_sessions, i.last_observed_at, d.created_at, d.updated_at, d.sequence,
       greatest(d.position, i.position) AS position
  FROM read_definitions.definitions d
  LEFT JOIN read_definitions.indicators i ON i.definition_id = d.id;

COMMENT ON VIEW analytics_v1.definitions IS
    'Definitions as they are now, one row each. Source: all lablet_definition events.';
COMMENT ON COLUMN analytics_v1.definitions.definition_id IS
    'Id of the definition. Never null. Source: lablet_definition.created.';
COMMENT ON COLUMN analytics_v1.definitions.name IS
    'Its name. Never null. Source: lablet_definition.created.';
COMMENT ON COLUMN analytics_v1.definitions.version IS
    'Version that its author gave it. Never null. Source: lablet_definition.created.';
COMMENT ON COLUMN analytics_v1.definitions.revision IS
    'Counted from 1, raised by each revision. Never null. Source: lablet_definition.revised.';
COMMENT ON COLUMN analytics_v1.definitions.configured_cpu_cores IS
    'Cores that it is thought to need. Never null. Source: lablet_definition.created or lablet_definition.revised.';
COMMENT ON COLUMN analytics_v1.definitions.configured_memory_gb IS
    'Gigabytes of memory that it is thought to need. Never null. Source: lablet_definition.created or lablet_definition.revised.';
COMMENT ON COLUMN analytics_v1.definitions.configured_storage_gb IS
    'Gigabytes of storage that it is thought to need. Never null. Source: lablet_definition.created or lablet_definition.revised.';
COMMENT ON COLUMN analytics_v1.definitions.configured_node_count IS
    'Number of nodes that its author states. Null: not stated. Source: lablet_definition.created.';
COMMENT ON COLUMN analytics_v1.definitions.port_template IS
    'Ports that it exposes, as a JSON object with ports, an array of name and protocol. Never null. Source: lablet_definition.created or lablet_definition.revised.';
COMMENT ON COLUMN analytics_v1.definitions.description IS
    'What it is about. Null: not described. Source: lablet_definition.created or lablet_definition.revised.';
COMMENT ON COLUMN analytics_v1.definitions.observation_count IS
    'Number of observations of its sessions. Never null. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.definitions.observed_sessions IS
    'Number of its sessions that were observed. Never null. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.definitions.port_drift_sessions IS
    'Number of sessions whose newest verdict is that their ports drifted. Never null. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.definitions.last_observed_at IS
    'When its newest observation was made. Null: there is none. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.definitions.created_at IS
    'When it was created. Never null. Source: lablet_definition.created.';
COMMENT ON COLUMN analytics_v1.definitions.updated_at IS
    'When it was last revised or created. Never null. Source: lablet_definition.revised.';
COMMENT ON COLUMN analytics_v1.definitions.sequence IS
    'Number of its events. Never null. Source: every lablet_definition event.';
COMMENT ON COLUMN analytics_v1.definitions.position IS
    'Position of the last event that this row rests on; sorts as text. Source: the log''s global order.';

CREATE VIEW analytics_v1.definition_revisions AS
SELECT definition_id, revision, (before #>> '{resource_requirements,cpu_cores}')::integer AS before_cpu_cores,
       (before #>> '{resource_requirements,memory_gb}')::integer AS before_memory_gb,
       (before #>> '{resource_requirements,storage_gb}')::integer AS before_storage_gb,
       (after #>> '{resource_requirements,cpu_cores}')::integer AS after_cpu_cores,
       (after #>> '{resource_requirements,memory_gb}')::integer AS after_memory_gb,
       (after #>> '{resource_requirements,storage_gb}')::integer AS after_storage_gb,
       before AS content_before, after AS content_after, reason, evidence AS evidence_event_ids, revised_by, revised_at,
       event_id, position
  FROM read_definitions.revisions;

COMMENT ON VIEW analytics_v1.definition_revisions IS
    'Revisions of definitions, one row each; the first is the creation. Source: lablet_definition.created and lablet_definition.revised.';
COMMENT ON COLUMN analytics_v1.definition_revisions.definition_id IS
    'Id of the definition. Never null. Source: lablet_definition.created and lablet_definition.revised.';
COMMENT ON COLUMN analytics_v1.definition_revisions.revision IS
    'Counted from 1. Never null. Source: lablet_definition.created and lablet_definition.revised.';
COMMENT ON COLUMN analytics_v1.definition_revisions.before_cpu_cores IS
    'Configured cores before. Null: it is the creation. Source: lablet_definition.created and lablet_definition.revised.';
COMMENT ON COLUMN analytics_v1.definition_revisions.before_memory_gb IS
    'Configured gigabytes of memory before. Null: it is the creation. Source: lablet_definition.created and lablet_definition.revised.';
COMMENT ON COLUMN analytics_v1.definition_revisions.before_storage_gb IS
    'Configured gigabytes of storage before. Null: it is the creation. Source: lablet_definition.created and lablet_definition.revised.';
COMMENT ON COLUMN analytics_v1.definition_revisions.after_cpu_cores IS
    'Configured cores from then on. Never null. Source: lablet_definition.created and lablet_definition.revised.';
COMMENT ON COLUMN analytics_v1.definition_revisions.after_memory_gb IS
    'Configured gigabytes of memory from then on. Never null. Source: lablet_definition.created and lablet_definition.revised.';
COMMENT ON COLUMN analytics_v1.definition_revisions.after_storage_gb IS
    'Configured gigabytes of storage from then on. Never null. Source: lablet_definition.created and lablet_definition.revised.';
COMMENT ON COLUMN analytics_v1.definition_revisions.content_before IS
    'Requirements, port template and description before, as a JSON object. Null: it is the creation. Source: lablet_definition.created and lablet_definition.revised.';
COMMENT ON COLUMN analytics_v1.definition_revisions.content_after IS
    'Requirements, port template and description from then on, as a JSON object. Never null. Source: lablet_definition.created and lablet_definition.revised.';
COMMENT ON COLUMN analytics_v1.definition_revisions.reason IS
    'Why. Null: it is the creation. Source: lablet_definition.created and lablet_definition.revised.';
COMMENT ON COLUMN analytics_v1.definition_revisions.evidence_event_ids IS
    'Events that it rests on, as a JSON array of ids. Never null. Source: lablet_definition.created and lablet_definition.revised.';
COMMENT ON COLUMN analytics_v1.definition_revisions.revised_by IS
    'Who. Null: the log does not say. Source: lablet_definition.created and lablet_definition.revised.';
COMMENT ON COLUMN analytics_v1.definition_revisions.revised_at IS
    'When. Never null. Source: lablet_definition.created and lablet_definition.revised.';
COMMENT ON COLUMN analytics_v1.definition_revisions.event_id IS
    'The event. Never null. Source: lablet_definition.created and lablet_definition.revised.';
COMMENT ON COLUMN analytics_v1.definition_revisions.position IS
    'Position of the event; sorts as text. Source: the log''s global order.';

CREATE VIEW analytics_v1.workers AS
SELECT id AS worker_id, name, address, cpu_cores AS capacity_cpu_cores, memory_gb AS capacity_memory_gb,
       storage_gb AS capacity_storage_gb, max_nodes AS capacity_max_nodes, first_port, last_port, registered_at,
       updated_at, sequence, position
  FROM read_workers.workers;

COMMENT ON VIEW analytics_v1.workers IS
    'Workers as they are now, one row each. Source: worker.registered and worker.changed.';
COMMENT ON COLUMN analytics_v1.workers.worker_id IS
    'Id of the worker. Never null. Source: worker.registered and worker.changed.';
COMMENT ON COLUMN analytics_v1.workers.name IS
    'Its name. Never null. Source: worker.registered and worker.changed.';
COMMENT ON COLUMN analytics_v1.workers.address IS
    'URL of its API. Never null. Source: worker.registered and worker.changed.';
COMMENT ON COLUMN analytics_v1.workers.capacity_cpu_cores IS
    'Cores that it offers. Never null. Source: worker.registered and worker.changed.';
COMMENT ON COLUMN analytics_v1.workers.capacity_memory_gb IS
    'Gigabytes of memory that it offers. Never null. Source: worker.registered and worker.changed.';
COMMENT ON COLUMN analytics_v1.workers.capacity_storage_gb IS
    'Gigabytes of storage that it offers. Never null. Source: worker.registered and worker.changed.';
COMMENT ON COLUMN analytics_v1.workers.capacity_max_nodes IS
    'Number of nodes that may run at once. Never null. Source: worker.registered and worker.changed.';
COMMENT ON COLUMN analytics_v1.workers.first_port IS
    'Lowest outside port number that it honours. Never null. Source: worker.registered and worker.changed.';
COMMENT ON COLUMN analytics_v1.workers.last_port IS
    'Highest outside port number that it honours. Never null. Source: worker.registered and worker.changed.';
COMMENT ON COLUMN analytics_v1.workers.registered_at IS
    'When it was registered. Never null. Source: worker.registered.';
COMMENT ON COLUMN analytics_v1.workers.updated_at IS
    'When it was last changed or registered. Never null. Source: worker.registered and worker.changed.';
COMMENT ON COLUMN analytics_v1.workers.sequence IS
    'Number of its events. Never null. Source: worker.registered and worker.changed.';
COMMENT ON COLUMN analytics_v1.workers.position IS
    'Position of the last event that this row rests on; sorts as text. Source: the log''s global order.';

CREATE VIEW analytics_v1.freshness AS
SELECT checkpoints.projection, checkpoints.position, head.position AS log_head, behind.lag_events, behind.lag_seconds,
       checkpoints.moved_at, checkpoints.parked_aggregates, checkpoints.revision
  FROM (SELECT 'sessions' AS projection, position, moved_at, revision,
               (SELECT count(*) FROM read_sessions.dead_letters WHERE reason IS NOT NULL) AS parked_aggregates
          FROM read_sessions.checkpoint
        UNION ALL SELECT 'definitions' AS projection, position, moved_at, revision,
               (SELECT count(*) FROM read_definitions.dead_letters WHERE reason IS NOT NULL) AS parked_aggregates
          FROM read_definitions.checkpoint
        UNION ALL SELECT 'observations' AS projection, position, moved_at, revision,
               (SELECT count(*) FROM read_observations.dead_letters WHERE reason IS NOT NULL) AS parked_aggregates
          FROM read_observations.checkpoint
        UNION ALL SELECT 'observation_requests' AS projection, position, moved_at, revision,
               (SELECT count(*) FROM read_observation_requests.dead_letters WHERE reason IS NOT NULL) AS parked_aggregates
          FROM read_observation_requests.checkpoint
        UNION ALL SELECT 'workers' AS projection, position, moved_at, revision,
               (SELECT count(*) FROM read_workers.dead_letters WHERE reason IS NOT NULL) AS parked_aggregates
          FROM read_workers.checkpoint) checkpoints
  LEFT JOIN LATERAL (
       SELECT lpad(e.epoch::text, 10, '0') || '-' || lpad(e.written_by::text, 20, '0') || '-'
                  || lpad(e.position::text, 19, '0') AS position
         FROM public.events e ORDER BY e.epoch DESC, e.written_by DESC, e.position DESC LIMIT 1) head ON true
 CROSS JOIN LATERAL (
       SELECT count(*) AS lag_events,
              coalesce(greatest(extract(epoch FROM clock_timestamp() - min(later.recorded_at)), 0), 0)::double precision
                  AS lag_seconds
         FROM (SELECT e.recorded_at FROM public.events e
                WHERE (e.epoch, e.written_by, e.position)
                      > (split_part(checkpoints.position, '-', 1)::integer,
                         (split_part(checkpoints.position, '-', 2)::numeric)::text::xid8,
                         split_part(checkpoints.position, '-', 3)::bigint)
                ORDER BY e.epoch, e.written_by, e.position LIMIT 10000) later) behind;

COMMENT ON VIEW analytics_v1.freshness IS
    'How far each read model has come, one row each. Source: the checkpoints of the read models, and the log.';
COMMENT ON COLUMN analytics_v1.freshness.projection IS
    'Name of the read model: what the views of it are derived by. Never null. Source: the checkpoints of the read models, and the log.';
COMMENT ON COLUMN analytics_v1.freshness.position IS
    'Every event up to this position is in the views; sorts as text. Never null. Source: the checkpoints of the read models, and the log.';
COMMENT ON COLUMN analytics_v1.freshness.log_head IS
    'Position of the newest event of the log; sorts as text. Null: the log is empty. Source: the checkpoints of the read models, and the log.';
COMMENT ON COLUMN analytics_v1.freshness.lag_events IS
    'Number of events after position, counted up to 10000. Never null. Source: the checkpoints of the read models, and the log.';
COMMENT ON COLUMN analytics_v1.freshness.lag_seconds IS
    'Age in seconds of the oldest event after position. 0: there is none. Never null. Source: the checkpoints of the read models, and the log.';
COMMENT ON COLUMN analytics_v1.freshness.moved_at IS
    'When the read model last moved. Never null. Source: the checkpoints of the read models, and the log.';
COMMENT ON COLUMN analytics_v1.freshness.parked_aggregates IS
    'Number of sessions, definitions or workers that are not up to date because one of their events could not be applied. Never null. Source: the checkpoints of the read models, and the log.';
COMMENT ON COLUMN analytics_v1.freshness.revision IS
    'Revision of the rules by which the rows were made. Never null. Source: the checkpoints of the read models, and the log.';

GRANT SELECT ON ALL TABLES IN SCHEMA analytics_v1 TO lablet_analyst;

RESET ROLE;
