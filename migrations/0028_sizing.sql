-- Whether each definition's size is too small, fits or is too large, by the one rule that all lists show.

SET LOCAL ROLE lablet_app;

-- An interrupted rebuild goes on in tables that were made from the live ones before this: they get the same column.
DO $$
DECLARE
    tables text;
BEGIN
    FOREACH tables IN ARRAY ARRAY['read_advice', 'read_advice_next'] LOOP
        CONTINUE WHEN to_regclass(tables || '.definition_sums') IS NULL;
        EXECUTE format('ALTER TABLE %I.definition_sums ADD COLUMN sizing jsonb', tables);
    END LOOP;
END
$$;

-- Where nothing was applied yet, there is nothing to be made again.
UPDATE read_advice.checkpoint SET revision = 4 WHERE position LIKE '0000000000-%' AND revision = 3;

CREATE VIEW analytics_v1.sizing_gaps AS
SELECT g.definition_id, g.definition_name, g.definition_revision, g.resource,
       CASE g.resource WHEN 'cpu_cores' THEN 'cores' ELSE 'MB' END AS unit, g.verdict, g.unknown_because, g.basis,
       g.configured, g.sufficient, g.difference, g.known_session_count, g.sessions_in_4_weeks,
       g.sessions_in_4_weeks / 4.0::double precision AS sessions_a_week,
       abs(g.difference) * g.sessions_in_4_weeks / 4.0::double precision AS weekly_gap,
       abs(g.difference) * g.sessions_in_4_weeks
           / nullif(sum(g.configured * g.sessions_in_4_weeks) OVER (PARTITION BY g.resource), 0) AS share, g.position
  FROM (SELECT s.definition_id, d.name AS definition_name, d.revision AS definition_revision, r.resource,
               r.sizing ->> 'verdict' AS verdict, r.sizing ->> 'unknown_because' AS unknown_because,
               r.sizing ->> 'basis' AS basis, CASE jsonb_typeof(r.sizing -> 'configured') WHEN 'number' THEN (r.sizing ->> 'configured')::double precision END AS configured,
               CASE jsonb_typeof(r.sizing -> 'sufficient') WHEN 'number' THEN (r.sizing ->> 'sufficient')::double precision END AS sufficient,
               CASE jsonb_typeof(r.sizing -> 'difference') WHEN 'number' THEN (r.sizing ->> 'difference')::double precision END AS difference,
               CASE jsonb_typeof(r.sizing -> 'known_sessions') WHEN 'number' THEN (r.sizing ->> 'known_sessions')::bigint END
                   AS known_session_count,
               coalesce(c.sessions, 0) AS sessions_in_4_weeks, s.position
          FROM read_advice.definition_sums s
          JOIN read_definitions.definitions d ON d.id = s.definition_id
          LEFT JOIN (SELECT definition_id, count(*) AS sessions FROM read_advice.sessions
                      WHERE ended_at >= now() - interval '28 days' GROUP BY definition_id) c
            ON c.definition_id = s.definition_id
         CROSS JOIN LATERAL jsonb_each(CASE jsonb_typeof(s.sizing) WHEN 'object' THEN s.sizing ELSE '{}' END)
                    r (resource, sizing)) g;

GRANT SELECT ON analytics_v1.sizing_gaps TO lablet_analyst;

RESET ROLE;

COMMENT ON VIEW analytics_v1.sizing_gaps IS
    'Whether each definition''s size of each resource is too small, fits or is too large, and what that amounts to over the sessions of a week; one row a definition and resource. Key: definition_id, resource. Joins: definitions by definition_id, definition_recommendations by definition_id and resource. Read model: advice; the name and revision come from definitions. Source: the sessions of the definition that ended, the policy in force, and what is configured.';
COMMENT ON COLUMN analytics_v1.sizing_gaps.definition_id IS
    'Id of the definition. Never null. Source: lablet_definition.created.';
COMMENT ON COLUMN analytics_v1.sizing_gaps.definition_name IS
    'Its name. Never null. Source: lablet_definition.created.';
COMMENT ON COLUMN analytics_v1.sizing_gaps.definition_revision IS
    'Its revision now, counted from 1. Never null. Source: lablet_definition.created and lablet_definition.revised.';
COMMENT ON COLUMN analytics_v1.sizing_gaps.resource IS
    'cpu_cores (amounts are cores), memory_mb or storage_mb (amounts are MB). Never null. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.sizing_gaps.unit IS
    'Unit of the amounts of the row: cores, or MB (1 GB is 1024 MB). Never null. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.sizing_gaps.verdict IS
    'too_small, fits, too_large or unknown, by what sessions used, as every page says it. Never null. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.sizing_gaps.unknown_because IS
    'Why nothing can be said: not_configured, no_session_ended, never_measured or other_topology. Null: something is said. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.sizing_gaps.basis IS
    'What decided: recommended (the size that keeps the promise) or largest_use (that of a session of this topology, where few are known). Null: nothing did. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.sizing_gaps.configured IS
    'What the definition states, in the unit of the row: cores or MB. Null: unknown. Source: lablet_definition.created and lablet_definition.revised.';
COMMENT ON COLUMN analytics_v1.sizing_gaps.sufficient IS
    'What would do, in whole cores or GB as a definition states them, in the unit of the row: cores or MB. Null: unknown. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.sizing_gaps.difference IS
    'sufficient less configured, in the unit of the row: cores or MB. Above zero that much is lacking, below zero that much is to spare. Null: unknown. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.sizing_gaps.known_session_count IS
    'Sessions that ended whose use of the resource is known. Never null. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.sizing_gaps.sessions_in_4_weeks IS
    'Sessions of the definition that ended in the last 28 days. Never null. Source: the first event after which nothing of a session can be observed.';
COMMENT ON COLUMN analytics_v1.sizing_gaps.sessions_a_week IS
    'The same, a week. Never null. Source: the first event after which nothing of a session can be observed.';
COMMENT ON COLUMN analytics_v1.sizing_gaps.weekly_gap IS
    'The difference, whichever way, times sessions_a_week: core-sessions or MB-sessions. Null: unknown. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.sizing_gaps.share IS
    'weekly_gap as a share of what all definitions state of this resource for their sessions of a week, 0 to 1, and more where much is lacking. Null: unknown, or no session ended. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.sizing_gaps.position IS
    'Position of the last event that this row rests on; sorts as text. Source: the log''s global order.';
