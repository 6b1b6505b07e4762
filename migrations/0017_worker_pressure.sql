-- How much of each worker is free, the spells in which it was short, and which sessions were observed on a short one.

SET LOCAL ROLE lablet_app;

-- An interrupted rebuild goes on in tables that were made from the live ones before this: they get the same tables.
DO $$
DECLARE
    tables text;
BEGIN
    FOREACH tables IN ARRAY ARRAY['read_workers', 'read_workers_next'] LOOP
        CONTINUE WHEN to_regclass(tables || '.workers') IS NULL;
        EXECUTE format('SET LOCAL search_path = %I', tables);
        -- The newest pressure of a worker. NULL: unknown.
        CREATE TABLE pressures (
            worker_id            text             PRIMARY KEY,
            condition            text             NOT NULL,
            condition_since      timestamptz      NOT NULL,
            -- Of the spell that lasts.
            spell_number         bigint           NOT NULL,
            short_of_cpu         boolean,
            short_of_memory      boolean,
            short_of_storage     boolean,
            short_of_launches    boolean,
            queued_nodes         integer,
            longest_wait_seconds integer,
            running_nodes        integer,
            free_cpu_cores       double precision,
            total_cpu_cores      double precision,
            free_memory_mb       double precision,
            total_memory_mb      double precision,
            free_storage_mb      double precision,
            total_storage_mb     double precision,
            statistics           text,
            launch_queue         text,
            observer             text             NOT NULL,
            observed_at          timestamptz      NOT NULL,
            event_id             uuid             NOT NULL,
            position             text             COLLATE "C" NOT NULL
        );
        -- A spell goes on until an event ends it, or begins another after a time of which nothing is known.
        CREATE TABLE pressure_spells (
            worker_id              text             NOT NULL,
            number                 bigint           NOT NULL,
            condition              text             NOT NULL,
            short_of_cpu           boolean          NOT NULL,
            short_of_memory        boolean          NOT NULL,
            short_of_storage       boolean          NOT NULL,
            short_of_launches      boolean          NOT NULL,
            began_at               timestamptz      NOT NULL,
            ended_at               timestamptz,
            last_observed_at       timestamptz,
            most_queued_nodes      integer,
            longest_wait_seconds   integer,
            least_free_cpu_cores   double precision,
            least_free_memory_mb   double precision,
            least_free_storage_mb  double precision,
            event_id               uuid             NOT NULL,
            position               text             COLLATE "C" NOT NULL,
            PRIMARY KEY (worker_id, number)
        );
        CREATE INDEX ON pressure_spells (worker_id, ended_at);
    END LOOP;
    FOREACH tables IN ARRAY ARRAY['read_observations', 'read_observations_next'] LOOP
        CONTINUE WHEN to_regclass(tables || '.observations') IS NULL;
        EXECUTE format('ALTER TABLE %I.observations ADD COLUMN worker_short boolean, '
                       'ADD COLUMN worker_short_of jsonb NOT NULL DEFAULT ''[]''', tables);
    END LOOP;
    FOREACH tables IN ARRAY ARRAY['read_demands', 'read_demands_next'] LOOP
        CONTINUE WHEN to_regclass(tables || '.sessions') IS NULL;
        EXECUTE format('ALTER TABLE %I.sessions ADD COLUMN worker_short boolean', tables);
    END LOOP;
END
$$;

-- Where nothing was applied yet, there is nothing to be made again.
UPDATE read_workers.checkpoint SET revision = 2 WHERE position LIKE '0000000000-%' AND revision = 1;
UPDATE read_observations.checkpoint SET revision = 4 WHERE position LIKE '0000000000-%' AND revision = 3;
UPDATE read_demands.checkpoint SET revision = 2 WHERE position LIKE '0000000000-%' AND revision = 1;

SET LOCAL search_path = public;

CREATE VIEW analytics_v1.worker_pressure AS
SELECT worker_id, condition, condition_since, short_of_cpu, short_of_memory, short_of_storage, short_of_launches,
       queued_nodes AS queued_node_count, longest_wait_seconds, running_nodes AS running_node_count, free_cpu_cores,
       total_cpu_cores, free_memory_mb, total_memory_mb, free_storage_mb, total_storage_mb,
       statistics AS statistics_read, launch_queue AS launch_queue_read, observer, observed_at, event_id, position
  FROM read_workers.pressures;

CREATE VIEW analytics_v1.worker_pressure_spells AS
SELECT worker_id, number AS spell_number, condition, short_of_cpu, short_of_memory, short_of_storage, short_of_launches,
       began_at, ended_at, last_observed_at, most_queued_nodes AS most_queued_node_count, longest_wait_seconds,
       least_free_cpu_cores, least_free_memory_mb, least_free_storage_mb, event_id, position
  FROM read_workers.pressure_spells;

GRANT SELECT ON analytics_v1.worker_pressure, analytics_v1.worker_pressure_spells TO lablet_analyst;

RESET ROLE;

COMMENT ON VIEW analytics_v1.worker_pressure IS
    'How much of each worker is free and what it is short of, as it was last recorded, one row a worker of which anything was told. Source: worker.pressure_observed.';
COMMENT ON COLUMN analytics_v1.worker_pressure.worker_id IS
    'Id of the worker. Never null. Source: worker.pressure_observed.';
COMMENT ON COLUMN analytics_v1.worker_pressure.condition IS
    'short: it is short of something. not_short: it is known to be short of nothing. unknown: neither is known. Never null. Source: worker.pressure_observed.';
COMMENT ON COLUMN analytics_v1.worker_pressure.condition_since IS
    'Since when its condition is this one. Never null. Source: worker.pressure_observed.';
COMMENT ON COLUMN analytics_v1.worker_pressure.short_of_cpu IS
    'Whether CML says that CPU is overloaded. Null: unknown. Source: worker.pressure_observed.';
COMMENT ON COLUMN analytics_v1.worker_pressure.short_of_memory IS
    'Whether CML says that memory is overloaded. Null: unknown. Source: worker.pressure_observed.';
COMMENT ON COLUMN analytics_v1.worker_pressure.short_of_storage IS
    'Whether CML says that the disk is overloaded. Null: unknown. Source: worker.pressure_observed.';
COMMENT ON COLUMN analytics_v1.worker_pressure.short_of_launches IS
    'Whether a node waits for longer than 60 seconds for its launch. Null: unknown. Source: worker.pressure_observed.';
COMMENT ON COLUMN analytics_v1.worker_pressure.queued_node_count IS
    'Nodes that wait for their launch. Null: unknown. Source: worker.pressure_observed.';
COMMENT ON COLUMN analytics_v1.worker_pressure.longest_wait_seconds IS
    'Seconds for which the first of them has waited, 0 where none waits. Null: unknown. Source: worker.pressure_observed.';
COMMENT ON COLUMN analytics_v1.worker_pressure.running_node_count IS
    'Nodes that run. Null: unknown. Source: worker.pressure_observed.';
COMMENT ON COLUMN analytics_v1.worker_pressure.free_cpu_cores IS
    'Cores that nothing uses. Null: unknown. Source: worker.pressure_observed.';
COMMENT ON COLUMN analytics_v1.worker_pressure.total_cpu_cores IS
    'Cores in all. Null: unknown. Source: worker.pressure_observed.';
COMMENT ON COLUMN analytics_v1.worker_pressure.free_memory_mb IS
    'MB of memory that nothing uses. Null: unknown. Source: worker.pressure_observed.';
COMMENT ON COLUMN analytics_v1.worker_pressure.total_memory_mb IS
    'MB of memory in all. Null: unknown. Source: worker.pressure_observed.';
COMMENT ON COLUMN analytics_v1.worker_pressure.free_storage_mb IS
    'MB of disk that nothing uses. Null: unknown. Source: worker.pressure_observed.';
COMMENT ON COLUMN analytics_v1.worker_pressure.total_storage_mb IS
    'MB of disk in all. Null: unknown. Source: worker.pressure_observed.';
COMMENT ON COLUMN analytics_v1.worker_pressure.statistics_read IS
    'What came of reading the statistics, which amounts and running nodes are from: answered, no_rights, not_served or failed. Null: nobody said. Source: worker.pressure_observed.';
COMMENT ON COLUMN analytics_v1.worker_pressure.launch_queue_read IS
    'What came of reading the launch queue, which shortages, waits and queued nodes are from: answered, no_rights, not_served or failed. Null: nobody said. Source: worker.pressure_observed.';
COMMENT ON COLUMN analytics_v1.worker_pressure.observer IS
    'Who read it. Never null. Source: worker.pressure_observed.';
COMMENT ON COLUMN analytics_v1.worker_pressure.observed_at IS
    'When it was read. It is recorded again at least every hour while anybody reads it. Never null. Source: worker.pressure_observed.';
COMMENT ON COLUMN analytics_v1.worker_pressure.event_id IS
    'The event. Never null. Source: worker.pressure_observed.';
COMMENT ON COLUMN analytics_v1.worker_pressure.position IS
    'Position of the last event that this row rests on; sorts as text. Source: the log''s global order.';

COMMENT ON VIEW analytics_v1.worker_pressure_spells IS
    'Times in which a worker was short of the same things, short of nothing, or not known to be either; one row each, one after the other without a hole. Source: worker.pressure_observed.';
COMMENT ON COLUMN analytics_v1.worker_pressure_spells.worker_id IS
    'Id of the worker. Never null. Source: worker.pressure_observed.';
COMMENT ON COLUMN analytics_v1.worker_pressure_spells.spell_number IS
    'Number of the spell among those of the worker, counted from 1. Never null. Source: worker.pressure_observed.';
COMMENT ON COLUMN analytics_v1.worker_pressure_spells.condition IS
    'short, not_short or unknown. Never null. Source: worker.pressure_observed.';
COMMENT ON COLUMN analytics_v1.worker_pressure_spells.short_of_cpu IS
    'Whether it was known to be short of CPU. Never null. Source: worker.pressure_observed.';
COMMENT ON COLUMN analytics_v1.worker_pressure_spells.short_of_memory IS
    'Whether it was known to be short of memory. Never null. Source: worker.pressure_observed.';
COMMENT ON COLUMN analytics_v1.worker_pressure_spells.short_of_storage IS
    'Whether it was known to be short of disk. Never null. Source: worker.pressure_observed.';
COMMENT ON COLUMN analytics_v1.worker_pressure_spells.short_of_launches IS
    'Whether a node was known to wait for longer than 60 seconds for its launch. Never null. Source: worker.pressure_observed.';
COMMENT ON COLUMN analytics_v1.worker_pressure_spells.began_at IS
    'When it began. Never null. Source: worker.pressure_observed.';
COMMENT ON COLUMN analytics_v1.worker_pressure_spells.ended_at IS
    'When it ended. Null: it lasts, or nobody told since last_observed_at. Source: worker.pressure_observed.';
COMMENT ON COLUMN analytics_v1.worker_pressure_spells.last_observed_at IS
    'When it was last recorded to be so. Null: nothing was read. Source: worker.pressure_observed.';
COMMENT ON COLUMN analytics_v1.worker_pressure_spells.most_queued_node_count IS
    'Most nodes that waited for their launch, of the readings that were recorded. Null: unknown. Source: worker.pressure_observed.';
COMMENT ON COLUMN analytics_v1.worker_pressure_spells.longest_wait_seconds IS
    'Longest wait for a launch in seconds, of the readings that were recorded. Null: unknown. Source: worker.pressure_observed.';
COMMENT ON COLUMN analytics_v1.worker_pressure_spells.least_free_cpu_cores IS
    'Fewest cores that were free, of the readings that were recorded. Null: unknown. Source: worker.pressure_observed.';
COMMENT ON COLUMN analytics_v1.worker_pressure_spells.least_free_memory_mb IS
    'Fewest MB of memory that were free, of the readings that were recorded. Null: unknown. Source: worker.pressure_observed.';
COMMENT ON COLUMN analytics_v1.worker_pressure_spells.least_free_storage_mb IS
    'Fewest MB of disk that were free, of the readings that were recorded. Null: unknown. Source: worker.pressure_observed.';
COMMENT ON COLUMN analytics_v1.worker_pressure_spells.event_id IS
    'The event by which it began, or by which it was found that nothing was known. Never null. Source: worker.pressure_observed.';
COMMENT ON COLUMN analytics_v1.worker_pressure_spells.position IS
    'Position of the last event that this row rests on; sorts as text. Source: the log''s global order.';

COMMENT ON COLUMN analytics_v1.workers.sequence IS
    'Sequence of the event by which it was last changed or registered. Never null. Source: worker.registered and worker.changed.';

-- Columns are added at the end of a view and nothing before them changes, so the rights on it stay.
CREATE OR REPLACE VIEW analytics_v1.observations AS
SELECT event_id, session_id, definition_id, definition_version, definition_revision, worker_id, cml_lab_id, observed_at,
       recorded_at, observer, reported_by, request_id, nominal_cpu_cores, nominal_memory_mb, nominal_storage_mb,
       nominal_unknown_cpu_nodes, nominal_unknown_memory_nodes, nominal_unknown_storage_nodes, used_cpu_cores,
       used_memory_mb, used_storage_mb, used_unknown_cpu_nodes, used_unknown_memory_nodes, used_unknown_storage_nodes,
       highest_cpu_percent AS used_highest_cpu_percent, node_count, nodes_booted AS booted_node_count,
       node_definitions_used, complete, phase, failed_reads, unreadable_entries, observed_ports, port_drift_detected,
       unallocated AS unallocated_ports, cml_version, topology_fingerprint, position, contradictions, no_evidence,
       worker_short, worker_short_of
  FROM read_observations.observations;

COMMENT ON COLUMN analytics_v1.observations.worker_short IS
    'Whether the worker was short of CPU, memory, disk or launches at any moment since the session ran: what was measured may be too low. False: it was known throughout not to be. Null: unknown. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.observations.worker_short_of IS
    'What it was short of, as a JSON array of cpu, memory, storage and launch_queue. Never null. Source: lablet_session.resources_observed.';

CREATE OR REPLACE VIEW analytics_v1.session_demands AS
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
       s.steady_seconds, s.profile_event_id, s.profile_at AS profile_observed_at, s.observation_count, s.position,
       s.worker_short
  FROM read_demands.sessions s
 CROSS JOIN LATERAL (VALUES
           ('cpu_cores', s.cpu_cores, s.cpu_cores_by_profile, s.cpu_cores_event_id, s.cpu_cores_at,
            s.boot_cpu_cores, s.boot_cpu_cores_by_profile, s.boot_cpu_cores_event_id, s.boot_cpu_cores_at),
           ('memory_mb', s.memory_mb, s.memory_mb_by_profile, s.memory_mb_event_id, s.memory_mb_at,
            s.boot_memory_mb, s.boot_memory_mb_by_profile, s.boot_memory_mb_event_id, s.boot_memory_mb_at),
           ('storage_mb', s.storage_mb, s.storage_mb_by_profile, s.storage_mb_event_id, s.storage_mb_at,
            s.boot_storage_mb, s.boot_storage_mb_by_profile, s.boot_storage_mb_event_id, s.boot_storage_mb_at))
       AS d (resource, demand, by_profile, event_id, observed_at, boot, boot_by_profile, boot_event_id, boot_observed_at);

COMMENT ON COLUMN analytics_v1.session_demands.worker_short IS
    'Whether the worker was short while the session ran: its demand may be greater than what was measured. True where any observation says so, else as the newest one says. Null: unknown. Source: lablet_session.resources_observed.';
