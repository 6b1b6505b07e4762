-- What sessions, nodes and kinds of nodes needed: the peaks of what they used, which sizing rests on.

DO $$
DECLARE
    tables text;
BEGIN
    FOREACH tables IN ARRAY ARRAY['read_demands', 'read_demands_next', 'read_demands_retired'] LOOP
        EXECUTE format('CREATE SCHEMA %I AUTHORIZATION lablet_app', tables);
    END LOOP;
END
$$;
INSERT INTO structure_locks (read_model) VALUES ('demands');

SET LOCAL ROLE lablet_app;
SET LOCAL search_path = read_demands;

CREATE TABLE checkpoint (LIKE read_workers.checkpoint INCLUDING ALL);
INSERT INTO checkpoint (position, revision) VALUES ('0000000000-00000000000000000000-0000000000000000000', 1);
CREATE TABLE applied (LIKE read_workers.applied INCLUDING ALL);
CREATE TABLE dead_letters (LIKE read_workers.dead_letters INCLUDING ALL);

-- Of each peak: its value, whether a profile or a snapshot says so, the event of the observation, and when it was made.
CREATE TABLE sessions (
    session_id text PRIMARY KEY,
    definition_id text NOT NULL,
    definition_version text NOT NULL,
    definition_revision integer NOT NULL,
    worker_id text,
    topology_fingerprint text,
    observation_count bigint NOT NULL,
    observed_at timestamptz NOT NULL,
    contradictions jsonb NOT NULL,
    no_evidence text,
    profile_event_id uuid,
    profile_at timestamptz,
    sampled_share double precision,
    samples bigint,
    missed_samples bigint,
    boot_seconds bigint,
    steady_seconds bigint,
    position text COLLATE "C" NOT NULL,
    cpu_cores double precision,
    cpu_cores_by_profile boolean,
    cpu_cores_event_id uuid,
    cpu_cores_at timestamptz,
    memory_mb double precision,
    memory_mb_by_profile boolean,
    memory_mb_event_id uuid,
    memory_mb_at timestamptz,
    storage_mb double precision,
    storage_mb_by_profile boolean,
    storage_mb_event_id uuid,
    storage_mb_at timestamptz,
    boot_cpu_cores double precision,
    boot_cpu_cores_by_profile boolean,
    boot_cpu_cores_event_id uuid,
    boot_cpu_cores_at timestamptz,
    boot_memory_mb double precision,
    boot_memory_mb_by_profile boolean,
    boot_memory_mb_event_id uuid,
    boot_memory_mb_at timestamptz,
    boot_storage_mb double precision,
    boot_storage_mb_by_profile boolean,
    boot_storage_mb_event_id uuid,
    boot_storage_mb_at timestamptz
);
CREATE INDEX ON sessions (definition_id);

CREATE TABLE nodes (
    session_id text NOT NULL,
    node_id text NOT NULL,
    observed_at timestamptz NOT NULL,
    label text NOT NULL,
    node_definition text NOT NULL,
    image_definition text,
    nominal_cpu_cores double precision,
    nominal_memory_mb double precision,
    pool text NOT NULL,
    position text COLLATE "C" NOT NULL,
    cpu_cores double precision,
    cpu_cores_by_profile boolean,
    cpu_cores_event_id uuid,
    cpu_cores_at timestamptz,
    memory_mb double precision,
    memory_mb_by_profile boolean,
    memory_mb_event_id uuid,
    memory_mb_at timestamptz,
    storage_mb double precision,
    storage_mb_by_profile boolean,
    storage_mb_event_id uuid,
    storage_mb_at timestamptz,
    boot_cpu_cores double precision,
    boot_cpu_cores_by_profile boolean,
    boot_cpu_cores_event_id uuid,
    boot_cpu_cores_at timestamptz,
    boot_memory_mb double precision,
    boot_memory_mb_by_profile boolean,
    boot_memory_mb_event_id uuid,
    boot_memory_mb_at timestamptz,
    boot_storage_mb double precision,
    boot_storage_mb_by_profile boolean,
    boot_storage_mb_event_id uuid,
    boot_storage_mb_at timestamptz,
    PRIMARY KEY (session_id, node_id)
);

CREATE TABLE pools (
    pool text PRIMARY KEY,
    node_definition text NOT NULL,
    image_definition text,
    nominal_cpu_cores double precision,
    nominal_memory_mb double precision,
    cpu_cores_runs bigint NOT NULL,
    cpu_cores_sum double precision NOT NULL,
    cpu_cores_sum_of_squares double precision NOT NULL,
    cpu_cores_maximum double precision,
    memory_mb_runs bigint NOT NULL,
    memory_mb_sum double precision NOT NULL,
    memory_mb_sum_of_squares double precision NOT NULL,
    memory_mb_maximum double precision,
    storage_mb_runs bigint NOT NULL,
    storage_mb_sum double precision NOT NULL,
    storage_mb_sum_of_squares double precision NOT NULL,
    storage_mb_maximum double precision,
    position text COLLATE "C" NOT NULL
);

SET LOCAL search_path = public;

CREATE VIEW analytics_v1.session_demands AS
SELECT s.session_id, s.definition_id, s.definition_version, s.definition_revision, s.worker_id, s.topology_fingerprint,
       d.resource, d.demand, CASE WHEN d.by_profile THEN 'profile' WHEN NOT d.by_profile THEN 'snapshot' END AS source,
       d.event_id AS demand_event_id, d.observed_at AS demand_observed_at, d.boot AS boot_peak,
       CASE WHEN d.boot_by_profile THEN 'profile' WHEN NOT d.boot_by_profile THEN 'snapshot' END AS boot_source,
       d.boot_event_id AS boot_peak_event_id, d.boot_observed_at AS boot_peak_observed_at,
       CASE WHEN d.demand IS NOT NULL THEN NULL
            WHEN s.no_evidence IS NOT NULL THEN s.no_evidence
            WHEN EXISTS (SELECT FROM jsonb_array_elements(s.contradictions) c
                          WHERE c ->> 'field' IN ('usage.' || d.resource, 'profile.' || d.resource)
                             OR c ->> 'field' = 'total_' || d.resource AND d.resource = 'storage_mb') THEN 'contradiction'
            ELSE 'unknown' END AS no_demand_reason,
       s.sampled_share, s.samples AS sample_count, s.missed_samples AS missed_sample_count, s.boot_seconds,
       s.steady_seconds, s.profile_event_id, s.profile_at AS profile_observed_at, s.observation_count, s.position
  FROM read_demands.sessions s
 CROSS JOIN LATERAL (VALUES
           ('cpu_cores', s.cpu_cores, s.cpu_cores_by_profile, s.cpu_cores_event_id, s.cpu_cores_at,
            s.boot_cpu_cores, s.boot_cpu_cores_by_profile, s.boot_cpu_cores_event_id, s.boot_cpu_cores_at),
           ('memory_mb', s.memory_mb, s.memory_mb_by_profile, s.memory_mb_event_id, s.memory_mb_at,
            s.boot_memory_mb, s.boot_memory_mb_by_profile, s.boot_memory_mb_event_id, s.boot_memory_mb_at),
           ('storage_mb', s.storage_mb, s.storage_mb_by_profile, s.storage_mb_event_id, s.storage_mb_at,
            s.boot_storage_mb, s.boot_storage_mb_by_profile, s.boot_storage_mb_event_id, s.boot_storage_mb_at))
       AS d (resource, demand, by_profile, event_id, observed_at, boot, boot_by_profile, boot_event_id, boot_observed_at);

CREATE VIEW analytics_v1.node_demands AS
SELECT n.session_id, n.node_id, s.definition_id, n.label, n.node_definition, n.image_definition, n.nominal_cpu_cores,
       n.nominal_memory_mb, n.cpu_cores AS demand_cpu_cores,
       CASE WHEN n.cpu_cores_by_profile THEN 'profile' WHEN NOT n.cpu_cores_by_profile THEN 'snapshot' END
           AS cpu_cores_source, n.cpu_cores_event_id, n.boot_cpu_cores AS boot_peak_cpu_cores,
       n.memory_mb AS demand_memory_mb,
       CASE WHEN n.memory_mb_by_profile THEN 'profile' WHEN NOT n.memory_mb_by_profile THEN 'snapshot' END
           AS memory_mb_source, n.memory_mb_event_id, n.boot_memory_mb AS boot_peak_memory_mb,
       n.storage_mb AS demand_storage_mb,
       CASE WHEN n.storage_mb_by_profile THEN 'profile' WHEN NOT n.storage_mb_by_profile THEN 'snapshot' END
           AS storage_mb_source, n.storage_mb_event_id, n.boot_storage_mb AS boot_peak_storage_mb,
       n.observed_at, n.position
  FROM read_demands.nodes n
  JOIN read_demands.sessions s ON s.session_id = n.session_id;

CREATE VIEW analytics_v1.node_pools AS
SELECT p.node_definition, p.image_definition, p.nominal_cpu_cores, p.nominal_memory_mb, d.resource,
       d.runs AS node_run_count, d.sum AS demand_sum, d.sum_of_squares AS demand_sum_of_squares,
       d.sum / d.runs AS demand_mean,
       CASE WHEN d.runs > 1
            THEN sqrt(greatest(d.sum_of_squares - d.sum * d.sum / d.runs, 0) / (d.runs - 1)) END
           AS demand_standard_deviation,
       d.maximum AS demand_max, p.position
  FROM read_demands.pools p
 CROSS JOIN LATERAL (VALUES
           ('cpu_cores', p.cpu_cores_runs, p.cpu_cores_sum, p.cpu_cores_sum_of_squares, p.cpu_cores_maximum),
           ('memory_mb', p.memory_mb_runs, p.memory_mb_sum, p.memory_mb_sum_of_squares, p.memory_mb_maximum),
           ('storage_mb', p.storage_mb_runs, p.storage_mb_sum, p.storage_mb_sum_of_squares, p.storage_mb_maximum))
       AS d (resource, runs, sum, sum_of_squares, maximum)
 WHERE d.runs > 0;

COMMENT ON VIEW analytics_v1.session_demands IS
    'What each session needed of each resource: the peak of what it used, one row each. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.session_demands.session_id IS
    'Id of the session. Never null. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.session_demands.definition_id IS
    'Id of its definition. Never null. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.session_demands.definition_version IS
    'Version that the definition''s author gave it. Never null. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.session_demands.definition_revision IS
    'Revision of the definition when the session was created, counted from 1. Never null. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.session_demands.worker_id IS
    'Worker of the newest observation. Null: unknown. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.session_demands.topology_fingerprint IS
    'Equal for equal topologies, as the newest observation has it. Null: unknown. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.session_demands.resource IS
    'cpu_cores (amounts are cores), memory_mb or storage_mb (amounts are MB). Never null. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.session_demands.demand IS
    'Greatest amount in use over the steady phase: cores or MB, as resource says. Null: unknown, see no_demand_reason. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.session_demands.source IS
    'profile: the peak of samples. snapshot: the greatest of single observations outside the boot phase. Null: demand is unknown. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.session_demands.demand_event_id IS
    'Event of the observation that demand rests on. Null: demand is unknown. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.session_demands.demand_observed_at IS
    'When that observation was made. Null: demand is unknown. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.session_demands.boot_peak IS
    'Greatest amount in use over the boot phase: cores or MB. Null: unknown. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.session_demands.boot_source IS
    'profile or snapshot, as source. Null: boot_peak is unknown. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.session_demands.boot_peak_event_id IS
    'Event of the observation that boot_peak rests on. Null: boot_peak is unknown. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.session_demands.boot_peak_observed_at IS
    'When that observation was made. Null: boot_peak is unknown. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.session_demands.no_demand_reason IS
    'Why demand is unknown, by the newest observation: nothing_ran (no node was running), contradiction (the total is not that of its nodes) or unknown (nobody measured). Null: demand is known. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.session_demands.sampled_share IS
    'Share of the session''s running time that was sampled, 0 to 1. Null: unknown, or there is no profile. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.session_demands.sample_count IS
    'Samples of the newest profile. Null: unknown, or there is no profile. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.session_demands.missed_sample_count IS
    'Intervals without a sample, by the newest profile. Null: unknown, or there is no profile. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.session_demands.boot_seconds IS
    'Seconds for which the boot phase was sampled. Null: unknown. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.session_demands.steady_seconds IS
    'Seconds for which the steady phase was sampled. Null: unknown. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.session_demands.profile_event_id IS
    'Event of the observation with the newest profile. Null: there is no profile. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.session_demands.profile_observed_at IS
    'When that observation was made. Null: there is no profile. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.session_demands.observation_count IS
    'Observations of the session. Never null. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.session_demands.position IS
    'Position of the last event that this row rests on; sorts as text. Source: the log''s global order.';

COMMENT ON VIEW analytics_v1.node_demands IS
    'What each node of each session needed: the peaks of what it used, one row a node. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.node_demands.session_id IS
    'Id of the session. Never null. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.node_demands.node_id IS
    'CML''s id of the node. Never null. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.node_demands.definition_id IS
    'Id of the session''s definition. Never null. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.node_demands.label IS
    'Label of the node, which may be empty. Never null. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.node_demands.node_definition IS
    'Node definition, e.g. iosv. Empty: unknown. Never null. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.node_demands.image_definition IS
    'Image in use. Null: unknown. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.node_demands.nominal_cpu_cores IS
    'Cores that CML gave the node. Null: unknown. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.node_demands.nominal_memory_mb IS
    'MB of memory that CML gave the node. Null: unknown. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.node_demands.demand_cpu_cores IS
    'Cores: greatest amount in use over the node''s steady phase. Null: unknown. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.node_demands.cpu_cores_source IS
    'profile: the peak of samples. snapshot: the greatest of single observations. Null: demand_cpu_cores is unknown. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.node_demands.cpu_cores_event_id IS
    'Event of the observation that demand_cpu_cores rests on. Null: demand_cpu_cores is unknown. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.node_demands.boot_peak_cpu_cores IS
    'Cores: greatest amount in use while the node booted. Null: unknown. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.node_demands.demand_memory_mb IS
    'MB of memory: greatest amount in use over the node''s steady phase. Null: unknown. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.node_demands.memory_mb_source IS
    'profile: the peak of samples. snapshot: the greatest of single observations. Null: demand_memory_mb is unknown. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.node_demands.memory_mb_event_id IS
    'Event of the observation that demand_memory_mb rests on. Null: demand_memory_mb is unknown. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.node_demands.boot_peak_memory_mb IS
    'MB of memory: greatest amount in use while the node booted. Null: unknown. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.node_demands.demand_storage_mb IS
    'MB on disk: greatest amount in use over the node''s steady phase. Null: unknown. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.node_demands.storage_mb_source IS
    'profile: the peak of samples. snapshot: the greatest of single observations. Null: demand_storage_mb is unknown. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.node_demands.storage_mb_event_id IS
    'Event of the observation that demand_storage_mb rests on. Null: demand_storage_mb is unknown. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.node_demands.boot_peak_storage_mb IS
    'MB on disk: greatest amount in use while the node booted. Null: unknown. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.node_demands.observed_at IS
    'When the newest observation was made that lists the node. Never null. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.node_demands.position IS
    'Position of the last event that this row rests on; sorts as text. Source: the log''s global order.';

COMMENT ON VIEW analytics_v1.node_pools IS
    'What nodes of one kind (node definition, image and nominal size) needed of each resource, over all sessions, one row each. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.node_pools.node_definition IS
    'Node definition, e.g. iosv. Empty: unknown. Never null. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.node_pools.image_definition IS
    'Image in use. Null: unknown. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.node_pools.nominal_cpu_cores IS
    'Cores that CML gave each of the nodes. Null: unknown. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.node_pools.nominal_memory_mb IS
    'MB of memory that CML gave each of the nodes. Null: unknown. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.node_pools.resource IS
    'cpu_cores (amounts are cores), memory_mb or storage_mb (amounts are MB). Never null. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.node_pools.node_run_count IS
    'Nodes of sessions whose demand is known; each counts once. Never null. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.node_pools.demand_sum IS
    'Sum of their demands, each rounded to 1/256 core or 1/16 MB. Never null. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.node_pools.demand_sum_of_squares IS
    'Sum of the squares of their demands, rounded likewise. Never null. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.node_pools.demand_mean IS
    'Mean of their demands: cores or MB. Never null. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.node_pools.demand_standard_deviation IS
    'Standard deviation of their demands: cores or MB. Null: there is one run only. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.node_pools.demand_max IS
    'Greatest demand that one of them was ever known to have: cores or MB; it stays where a snapshot gave it and a profile then said less. Never null. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.node_pools.position IS
    'Position of the last event that this row rests on; sorts as text. Source: the log''s global order.';

GRANT SELECT ON analytics_v1.session_demands, analytics_v1.node_demands, analytics_v1.node_pools TO lablet_analyst;

CREATE OR REPLACE VIEW analytics_v1.freshness AS
SELECT checkpoints.projection, checkpoints.position, head.position AS log_head, behind.lag_events, behind.lag_seconds,
       checkpoints.moved_at, checkpoints.parked_aggregates, checkpoints.revision,
       behind.lag_events = 0 AND checkpoints.parked_aggregates = 0 AS is_up_to_date
  FROM (SELECT 'sessions' AS projection, position, moved_at, revision,
               (SELECT count(*) FROM read_sessions.dead_letters WHERE reason IS NOT NULL) AS parked_aggregates
          FROM read_sessions.checkpoint
        UNION ALL SELECT 'definitions' AS projection, position, moved_at, revision,
               (SELECT count(*) FROM read_definitions.dead_letters WHERE reason IS NOT NULL) AS parked_aggregates
          FROM read_definitions.checkpoint
        UNION ALL SELECT 'observations' AS projection, position, moved_at, revision,
               (SELECT count(*) FROM read_observations.dead_letters WHERE reason IS NOT NULL) AS parked_aggregates
          FROM read_observations.checkpoint
        UNION ALL SELECT 'demands' AS projection, position, moved_at, revision,
               (SELECT count(*) FROM read_demands.dead_letters WHERE reason IS NOT NULL) AS parked_aggregates
          FROM read_demands.checkpoint
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

RESET ROLE;
