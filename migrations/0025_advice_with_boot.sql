-- A policy may include the boot: what advice rests on is kept over the steady phase, and over the boot, too.

SET LOCAL ROLE lablet_app;

DO $$
DECLARE
    tables text;
    by_phases text[];
    resource text;
BEGIN
    FOREACH tables IN ARRAY ARRAY['read_advice', 'read_advice_next'] LOOP
        CONTINUE WHEN to_regclass(tables || '.sessions') IS NULL;
        EXECUTE format('ALTER TABLE %I.sessions ADD COLUMN kinds_with_boot jsonb,
                        ADD COLUMN cpu_cores_with_boot double precision, ADD COLUMN memory_mb_with_boot double precision,
                        ADD COLUMN storage_mb_with_boot double precision', tables);
        FOREACH resource IN ARRAY ARRAY['cpu_cores', 'memory_mb', 'storage_mb'] LOOP
            EXECUTE format('CREATE INDEX ON %I.sessions (definition_id, %I DESC, ended_position)
                             WHERE ended_position IS NOT NULL', tables, resource || '_with_boot');
        END LOOP;
        EXECUTE format('ALTER TABLE %I.definition_sums ADD COLUMN sums_with_boot jsonb', tables);
        FOREACH by_phases SLICE 1 IN ARRAY ARRAY[
            ['definition_topologies', 'definition_id, topology_key'], ['pools', 'owner, node_definition'],
            ['fleet', 'fleet'], ['scores', 'resource, bucket, from_spread']
        ] LOOP
            EXECUTE format('ALTER TABLE %I.%I ADD COLUMN phases text NOT NULL DEFAULT ''steady''', tables, by_phases[1]);
            EXECUTE format('ALTER TABLE %I.%I DROP CONSTRAINT %I', tables, by_phases[1], by_phases[1] || '_pkey');
            EXECUTE format('ALTER TABLE %I.%I ADD PRIMARY KEY (phases, %s)', tables, by_phases[1], by_phases[2]);
        END LOOP;
    END LOOP;
END
$$;

-- Where nothing was applied yet, there is nothing to be made again.
UPDATE read_advice.checkpoint SET revision = 3 WHERE position LIKE '0000000000-%' AND revision = 2;

CREATE OR REPLACE VIEW analytics_v1.session_evidence AS
SELECT s.session_id, s.definition_id, s.definition_revision, s.worker_id, s.cml_version, s.worker_short,
       s.topology_key, r.resource, (s.demands -> r.resource -> 'demand' ->> 'value')::double precision AS demand,
       s.demands -> r.resource -> 'demand' ->> 'source' AS demand_source,
       (s.demands -> r.resource -> 'demand' ->> 'event_id')::uuid AS demand_event_id,
       (s.demands -> r.resource -> 'boot' ->> 'value')::double precision AS boot_peak,
       (s.nominal ->> r.resource)::double precision AS nominal, s.observation_count, s.no_evidence, s.excluded,
       x.reason AS exclusion_reason, x.changed_by AS excluded_by, x.changed_at AS excluded_at,
       s.running_at, s.ended_at, s.ended_event_id, s.position,
       CASE r.resource WHEN 'cpu_cores' THEN s.cpu_cores_with_boot WHEN 'memory_mb' THEN s.memory_mb_with_boot
                       ELSE s.storage_mb_with_boot END AS demand_with_boot,
       s.demands -> r.resource -> 'boot' ->> 'source' AS boot_source,
       (s.demands -> r.resource -> 'boot' ->> 'event_id')::uuid AS boot_event_id,
       CASE r.resource WHEN 'cpu_cores' THEN 'cores' ELSE 'MB' END AS unit
  FROM read_advice.sessions s
 CROSS JOIN (VALUES ('cpu_cores'), ('memory_mb'), ('storage_mb')) AS r (resource)
  LEFT JOIN LATERAL (SELECT e.reason, e.changed_by, e.changed_at FROM read_advice.exclusions e
                      WHERE s.excluded AND e.session_id = s.session_id ORDER BY e.position DESC LIMIT 1) x ON true;

CREATE OR REPLACE VIEW analytics_v1.advice_scores AS
SELECT s.session_id, s.definition_id, s.definition_revision, a.resource,
       (a.advice ->> 'sessions_before')::bigint AS sessions_before, (a.advice ->> 'promise')::double precision AS promise,
       (a.advice ->> 'advised')::double precision AS advised, (a.advice ->> 'demand')::double precision AS demand,
       (a.advice ->> 'configured')::double precision AS configured, (a.advice ->> 'nominal')::double precision AS nominal,
       (a.advice ->> 'held')::boolean AS held,
       (p.peak ->> 'event_id')::uuid AS demand_event_id,
       s.ended_at, s.position, coalesce((a.advice ->> 'include_boot')::boolean, false) AS include_boot
  FROM read_advice.sessions s, jsonb_each(s.advice) AS a (resource, advice),
       LATERAL (SELECT s.demands -> a.resource -> 'demand' AS steady, s.demands -> a.resource -> 'boot' AS boot) d,
       LATERAL (SELECT CASE WHEN (a.advice ->> 'include_boot')::boolean
                             AND (d.boot ->> 'value')::double precision > (d.steady ->> 'value')::double precision
                            THEN d.boot ELSE d.steady END AS peak) p
 WHERE NOT s.excluded AND jsonb_typeof(a.advice) = 'object';

CREATE OR REPLACE VIEW analytics_v1.advice_misses AS
SELECT s.session_id, s.definition_id, s.definition_revision, a.resource,
       (a.advice ->> 'sessions_before')::bigint AS sessions_before, (a.advice ->> 'promise')::double precision AS promise,
       (a.advice ->> 'advised')::double precision AS advised, (a.advice ->> 'demand')::double precision AS demand,
       (a.advice ->> 'configured')::double precision AS configured, (a.advice ->> 'nominal')::double precision AS nominal,
       (a.advice ->> 'demand')::double precision - (a.advice ->> 'advised')::double precision AS shortfall,
       (p.peak ->> 'event_id')::uuid AS demand_event_id,
       s.ended_at, s.position, coalesce((a.advice ->> 'include_boot')::boolean, false) AS include_boot
  FROM read_advice.sessions s, jsonb_each(s.advice) AS a (resource, advice),
       LATERAL (SELECT s.demands -> a.resource -> 'demand' AS steady, s.demands -> a.resource -> 'boot' AS boot) d,
       LATERAL (SELECT CASE WHEN (a.advice ->> 'include_boot')::boolean
                             AND (d.boot ->> 'value')::double precision > (d.steady ->> 'value')::double precision
                            THEN d.boot ELSE d.steady END AS peak) p
 WHERE s.missed AND NOT s.excluded AND jsonb_typeof(a.advice) = 'object' AND NOT (a.advice ->> 'held')::boolean;

RESET ROLE;

COMMENT ON COLUMN analytics_v1.session_evidence.boot_peak IS
    'Greatest amount in use over the boot phase, in the unit of the row: cores or MB. It counts where the policy includes the boot. Null: unknown. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.session_evidence.demand_with_boot IS
    'What it needed with the boot: the larger of demand and boot_peak, in the unit of the row: cores or MB; at least this where boot_peak is null. Null: unknown, as demand is. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.session_evidence.boot_source IS
    'profile: the peak of samples. snapshot: the greatest of single observations. Null: boot_peak is unknown. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.session_evidence.boot_event_id IS
    'Event of the observation that boot_peak rests on. Null: boot_peak is unknown. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.session_evidence.unit IS
    'Unit of the amounts of the row: cores, or MB (1 GB is 1024 MB). Never null. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.advice_scores.include_boot IS
    'Whether advised and demand cover the boot, by the policy in force. Never null. Source: lablet_session.resources_observed of this and of earlier sessions, and the policy in force.';
COMMENT ON COLUMN analytics_v1.advice_misses.include_boot IS
    'Whether advised and demand cover the boot, by the policy in force. Never null. Source: lablet_session.resources_observed of this and of earlier sessions, and the policy in force.';
