-- What analysts see of advice; and of equal demands the earliest is found without reading the others.

SET LOCAL ROLE lablet_app;

DO $$
DECLARE
    tables text;
    resource text;
BEGIN
    FOREACH tables IN ARRAY ARRAY['read_advice', 'read_advice_next'] LOOP
        CONTINUE WHEN to_regclass(tables || '.sessions') IS NULL;
        FOREACH resource IN ARRAY ARRAY['cpu_cores', 'memory_mb', 'storage_mb'] LOOP
            EXECUTE format('DROP INDEX IF EXISTS %I.%I', tables, 'sessions_definition_id_' || resource || '_idx');
            EXECUTE format('CREATE INDEX ON %I.sessions (definition_id, %I DESC, ended_position)
                             WHERE ended_position IS NOT NULL', tables, resource);
        END LOOP;
    END LOOP;
END
$$;

CREATE VIEW analytics_v1.session_evidence AS
SELECT s.session_id, s.definition_id, s.definition_revision, s.worker_id, s.cml_version, s.worker_short,
       s.topology_key, r.resource, (s.demands -> r.resource -> 'demand' ->> 'value')::double precision AS demand,
       s.demands -> r.resource -> 'demand' ->> 'source' AS demand_source,
       (s.demands -> r.resource -> 'demand' ->> 'event_id')::uuid AS demand_event_id,
       (s.demands -> r.resource -> 'boot' ->> 'value')::double precision AS boot_peak,
       (s.nominal ->> r.resource)::double precision AS nominal, s.observation_count, s.no_evidence, s.excluded,
       x.reason AS exclusion_reason, x.changed_by AS excluded_by, x.changed_at AS excluded_at,
       s.running_at, s.ended_at, s.ended_event_id, s.position
  FROM read_advice.sessions s
 CROSS JOIN (VALUES ('cpu_cores'), ('memory_mb'), ('storage_mb')) AS r (resource)
  LEFT JOIN LATERAL (SELECT e.reason, e.changed_by, e.changed_at FROM read_advice.exclusions e
                      WHERE s.excluded AND e.session_id = s.session_id ORDER BY e.position DESC LIMIT 1) x ON true;

CREATE VIEW analytics_v1.advice_scores AS
SELECT s.session_id, s.definition_id, s.definition_revision, a.resource,
       (a.advice ->> 'sessions_before')::bigint AS sessions_before, (a.advice ->> 'promise')::double precision AS promise,
       (a.advice ->> 'advised')::double precision AS advised, (a.advice ->> 'demand')::double precision AS demand,
       (a.advice ->> 'configured')::double precision AS configured, (a.advice ->> 'nominal')::double precision AS nominal,
       (a.advice ->> 'held')::boolean AS held, (s.demands -> a.resource -> 'demand' ->> 'event_id')::uuid AS demand_event_id,
       s.ended_at, s.position
  FROM read_advice.sessions s, jsonb_each(s.advice) AS a (resource, advice)
 WHERE NOT s.excluded AND jsonb_typeof(a.advice) = 'object';

CREATE VIEW analytics_v1.advice_misses AS
SELECT s.session_id, s.definition_id, s.definition_revision, a.resource,
       (a.advice ->> 'sessions_before')::bigint AS sessions_before, (a.advice ->> 'promise')::double precision AS promise,
       (a.advice ->> 'advised')::double precision AS advised, (a.advice ->> 'demand')::double precision AS demand,
       (a.advice ->> 'configured')::double precision AS configured, (a.advice ->> 'nominal')::double precision AS nominal,
       (a.advice ->> 'demand')::double precision - (a.advice ->> 'advised')::double precision AS shortfall,
       (s.demands -> a.resource -> 'demand' ->> 'event_id')::uuid AS demand_event_id,
       s.ended_at, s.position
  FROM read_advice.sessions s, jsonb_each(s.advice) AS a (resource, advice)
 WHERE s.missed AND NOT s.excluded AND jsonb_typeof(a.advice) = 'object' AND NOT (a.advice ->> 'held')::boolean;

CREATE VIEW analytics_v1.proposals AS
SELECT proposal_id, definition_id, status, proposal ->> 'kind' AS kind, proposal ->> 'finding' AS finding,
       (proposal ->> 'promise')::double precision AS promise,
       (proposal -> 'before' ->> 'cpu_cores')::integer AS before_cpu_cores,
       (proposal -> 'before' ->> 'memory_gb')::integer AS before_memory_gb,
       (proposal -> 'before' ->> 'storage_gb')::integer AS before_storage_gb,
       (proposal -> 'after' ->> 'cpu_cores')::integer AS after_cpu_cores,
       (proposal -> 'after' ->> 'memory_gb')::integer AS after_memory_gb,
       (proposal -> 'after' ->> 'storage_gb')::integer AS after_storage_gb,
       (proposal ->> 'sessions')::bigint AS session_count, proposal ->> 'reason' AS reason,
       proposal ->> 'rolls_back' AS rolls_back, opened_by, opened_at, claimed_by, claimed_at, ended_by, ended_at,
       end_reason, revision, policy_set_by, superseded_by, (verification ->> 'held')::boolean AS held,
       (verification ->> 'sessions')::bigint AS verified_session_count, verified_at, opened_event_id, position
  FROM read_advice.proposals;

CREATE VIEW analytics_v1.definition_recommendations AS
SELECT s.definition_id, d.revision AS definition_revision, r.resource,
       CASE r.resource WHEN 'cpu_cores' THEN (d.requirements ->> 'cpu_cores')::double precision
                       WHEN 'memory_mb' THEN (d.requirements ->> 'memory_gb')::double precision * 1024
                       ELSE (d.requirements ->> 'storage_gb')::double precision * 1024 END AS configured,
       (s.value ->> r.resource)::double precision AS recommended,
       (s.requirement ->> r.resource)::double precision * CASE r.resource WHEN 'cpu_cores' THEN 1 ELSE 1024 END
           AS requirement,
       s.finding #>> '{}' AS definition_finding, s.ended AS ended_session_count, s.position
  FROM read_advice.definition_sums s
  LEFT JOIN read_advice.definitions d ON d.definition_id = s.definition_id
 CROSS JOIN (VALUES ('cpu_cores'), ('memory_mb'), ('storage_mb')) AS r (resource);

GRANT SELECT ON analytics_v1.session_evidence, analytics_v1.advice_scores, analytics_v1.advice_misses, analytics_v1.proposals, analytics_v1.definition_recommendations
   TO lablet_analyst;

RESET ROLE;

COMMENT ON VIEW analytics_v1.session_evidence IS
    'What each session that ran says of what its definition needs, one row a session and resource; excluded ones too. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.session_evidence.session_id IS
    'Id of the session. Never null. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.session_evidence.definition_id IS
    'Id of its definition. Never null. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.session_evidence.definition_revision IS
    'Revision of the definition when the session was created. Never null. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.session_evidence.worker_id IS
    'Id of the worker. Null: unknown. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.session_evidence.cml_version IS
    'Version of the CML controller. Null: unknown. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.session_evidence.worker_short IS
    'Whether the worker was short of anything while the session ran. Null: unknown. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.session_evidence.topology_key IS
    'Equal for topologies of equal kinds and numbers of nodes. Null: its nodes are unknown. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.session_evidence.resource IS
    'cpu_cores (amounts are cores), memory_mb or storage_mb (amounts are MB). Never null. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.session_evidence.demand IS
    'What it needed: the greatest amount in use over the steady phase, cores or MB. Null: unknown. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.session_evidence.demand_source IS
    'profile: the peak of samples. snapshot: the greatest of single observations. Null: demand is unknown. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.session_evidence.demand_event_id IS
    'Event of the observation that demand rests on. Null: demand is unknown. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.session_evidence.boot_peak IS
    'Greatest amount in use over the boot phase, which is not counted: cores or MB. Null: unknown. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.session_evidence.nominal IS
    'What CML gave its nodes: cores or MB. Null: unknown, as it always is of storage. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.session_evidence.observation_count IS
    'Number of its observations. Never null. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.session_evidence.no_evidence IS
    'Why its newest observation is no evidence: nothing_ran. Null: it is some, or there is none. Source: lablet_session.resources_observed.';
COMMENT ON COLUMN analytics_v1.session_evidence.excluded IS
    'Whether somebody excluded it from the evidence. Never null. Source: lablet_session.evidence_excluded and lablet_session.evidence_included.';
COMMENT ON COLUMN analytics_v1.session_evidence.exclusion_reason IS
    'Why. Null: it is not excluded. Source: lablet_session.evidence_excluded and lablet_session.evidence_included.';
COMMENT ON COLUMN analytics_v1.session_evidence.excluded_by IS
    'Who excluded it. Null: it is not excluded. Source: lablet_session.evidence_excluded and lablet_session.evidence_included.';
COMMENT ON COLUMN analytics_v1.session_evidence.excluded_at IS
    'When. Null: it is not excluded. Source: lablet_session.evidence_excluded and lablet_session.evidence_included.';
COMMENT ON COLUMN analytics_v1.session_evidence.running_at IS
    'Since when it ran. Null: unknown. Source: lablet_session.running, and the first event after which nothing can be observed.';
COMMENT ON COLUMN analytics_v1.session_evidence.ended_at IS
    'Since when nothing of it can be observed, and it counts as evidence. Null: it runs. Source: lablet_session.running, and the first event after which nothing can be observed.';
COMMENT ON COLUMN analytics_v1.session_evidence.ended_event_id IS
    'The event by which that was so. Null: it runs. Source: lablet_session.running, and the first event after which nothing can be observed.';
COMMENT ON COLUMN analytics_v1.session_evidence.position IS
    'Position of the last event that this row rests on; sorts as text. Source: the log''s global order.';

COMMENT ON VIEW analytics_v1.advice_scores IS
    'What was possible to advise before each session, beside what it then needed; one row a session and resource whose demand is known. Excluded sessions are left out. Source: lablet_session.resources_observed of this and of earlier sessions, and the policy in force.';
COMMENT ON COLUMN analytics_v1.advice_scores.session_id IS
    'Id of the session. Never null. Source: lablet_session.resources_observed of this and of earlier sessions, and the policy in force.';
COMMENT ON COLUMN analytics_v1.advice_scores.definition_id IS
    'Id of its definition. Never null. Source: lablet_session.resources_observed of this and of earlier sessions, and the policy in force.';
COMMENT ON COLUMN analytics_v1.advice_scores.definition_revision IS
    'Revision of the definition when the session was created. Never null. Source: lablet_session.resources_observed of this and of earlier sessions, and the policy in force.';
COMMENT ON COLUMN analytics_v1.advice_scores.resource IS
    'cpu_cores (amounts are cores), memory_mb or storage_mb (amounts are MB). Never null. Source: lablet_session.resources_observed of this and of earlier sessions, and the policy in force.';
COMMENT ON COLUMN analytics_v1.advice_scores.sessions_before IS
    'Sessions of the definition that were known before it, of this resource. Never null. Source: lablet_session.resources_observed of this and of earlier sessions, and the policy in force.';
COMMENT ON COLUMN analytics_v1.advice_scores.promise IS
    'Share of sessions that was to be covered, 0 to 1. Never null. Source: lablet_session.resources_observed of this and of earlier sessions, and the policy in force.';
COMMENT ON COLUMN analytics_v1.advice_scores.advised IS
    'What was possible to advise before it: cores or MB. Null: nothing was. Source: lablet_session.resources_observed of this and of earlier sessions, and the policy in force.';
COMMENT ON COLUMN analytics_v1.advice_scores.demand IS
    'What it needed: cores or MB. Never null. Source: lablet_session.resources_observed of this and of earlier sessions, and the policy in force.';
COMMENT ON COLUMN analytics_v1.advice_scores.configured IS
    'What the definition stated: cores or MB. Null: unknown. Source: lablet_session.resources_observed of this and of earlier sessions, and the policy in force.';
COMMENT ON COLUMN analytics_v1.advice_scores.nominal IS
    'What CML gave its nodes: cores or MB. Null: unknown. Source: lablet_session.resources_observed of this and of earlier sessions, and the policy in force.';
COMMENT ON COLUMN analytics_v1.advice_scores.held IS
    'Whether it needed no more than was advised. Null: nothing was advised. Source: lablet_session.resources_observed of this and of earlier sessions, and the policy in force.';
COMMENT ON COLUMN analytics_v1.advice_scores.demand_event_id IS
    'Event of the observation that demand rests on. Null: unknown. Source: lablet_session.resources_observed of this and of earlier sessions, and the policy in force.';
COMMENT ON COLUMN analytics_v1.advice_scores.ended_at IS
    'When it became evidence. Never null. Source: lablet_session.resources_observed of this and of earlier sessions, and the policy in force.';
COMMENT ON COLUMN analytics_v1.advice_scores.position IS
    'Position of the last event that this row rests on; sorts as text. Source: the log''s global order.';

COMMENT ON VIEW analytics_v1.advice_misses IS
    'Sessions that needed more of a resource than was advised before them. Source: lablet_session.resources_observed of this and of earlier sessions, and the policy in force.';
COMMENT ON COLUMN analytics_v1.advice_misses.session_id IS
    'Id of the session. Never null. Source: lablet_session.resources_observed of this and of earlier sessions, and the policy in force.';
COMMENT ON COLUMN analytics_v1.advice_misses.definition_id IS
    'Id of its definition. Never null. Source: lablet_session.resources_observed of this and of earlier sessions, and the policy in force.';
COMMENT ON COLUMN analytics_v1.advice_misses.definition_revision IS
    'Revision of the definition when the session was created. Never null. Source: lablet_session.resources_observed of this and of earlier sessions, and the policy in force.';
COMMENT ON COLUMN analytics_v1.advice_misses.resource IS
    'cpu_cores (amounts are cores), memory_mb or storage_mb (amounts are MB). Never null. Source: lablet_session.resources_observed of this and of earlier sessions, and the policy in force.';
COMMENT ON COLUMN analytics_v1.advice_misses.sessions_before IS
    'Sessions of the definition that were known before it, of this resource. Never null. Source: lablet_session.resources_observed of this and of earlier sessions, and the policy in force.';
COMMENT ON COLUMN analytics_v1.advice_misses.promise IS
    'Share of sessions that was to be covered, 0 to 1. Never null. Source: lablet_session.resources_observed of this and of earlier sessions, and the policy in force.';
COMMENT ON COLUMN analytics_v1.advice_misses.advised IS
    'What was possible to advise before it: cores or MB. Null: nothing was. Source: lablet_session.resources_observed of this and of earlier sessions, and the policy in force.';
COMMENT ON COLUMN analytics_v1.advice_misses.demand IS
    'What it needed: cores or MB. Never null. Source: lablet_session.resources_observed of this and of earlier sessions, and the policy in force.';
COMMENT ON COLUMN analytics_v1.advice_misses.configured IS
    'What the definition stated: cores or MB. Null: unknown. Source: lablet_session.resources_observed of this and of earlier sessions, and the policy in force.';
COMMENT ON COLUMN analytics_v1.advice_misses.nominal IS
    'What CML gave its nodes: cores or MB. Null: unknown. Source: lablet_session.resources_observed of this and of earlier sessions, and the policy in force.';
COMMENT ON COLUMN analytics_v1.advice_misses.shortfall IS
    'By how much it needed more: cores or MB. Never null. Source: lablet_session.resources_observed of this and of earlier sessions, and the policy in force.';
COMMENT ON COLUMN analytics_v1.advice_misses.demand_event_id IS
    'Event of the observation that demand rests on. Null: unknown. Source: lablet_session.resources_observed of this and of earlier sessions, and the policy in force.';
COMMENT ON COLUMN analytics_v1.advice_misses.ended_at IS
    'When it became evidence. Never null. Source: lablet_session.resources_observed of this and of earlier sessions, and the policy in force.';
COMMENT ON COLUMN analytics_v1.advice_misses.position IS
    'Position of the last event that this row rests on; sorts as text. Source: the log''s global order.';

COMMENT ON VIEW analytics_v1.proposals IS
    'Other sizes that were proposed for definitions, with what became of each. Source: lablet_definition.proposal_opened and the events of its life.';
COMMENT ON COLUMN analytics_v1.proposals.proposal_id IS
    'Id of the proposal. Never null. Source: lablet_definition.proposal_opened and the events of its life.';
COMMENT ON COLUMN analytics_v1.proposals.definition_id IS
    'Id of the definition. Never null. Source: lablet_definition.proposal_opened and the events of its life.';
COMMENT ON COLUMN analytics_v1.proposals.status IS
    'open, claimed, applied, failed, dismissed or superseded. Never null. Source: lablet_definition.proposal_opened and the events of its life.';
COMMENT ON COLUMN analytics_v1.proposals.kind IS
    'size: the size that keeps the promise. roll_back: the size before a proposal that did not hold. Never null. Source: lablet_definition.proposal_opened and the events of its life.';
COMMENT ON COLUMN analytics_v1.proposals.finding IS
    'What was found of the size before: under_provisioned, over_provisioned, right_sized or insufficient_evidence. Never null. Source: lablet_definition.proposal_opened and the events of its life.';
COMMENT ON COLUMN analytics_v1.proposals.promise IS
    'Share of sessions to cover, 0 to 1. Never null. Source: lablet_definition.proposal_opened and the events of its life.';
COMMENT ON COLUMN analytics_v1.proposals.before_cpu_cores IS
    'Whole cores that the definition stated. Never null. Source: lablet_definition.proposal_opened and the events of its life.';
COMMENT ON COLUMN analytics_v1.proposals.before_memory_gb IS
    'Whole GB of memory that it stated. Never null. Source: lablet_definition.proposal_opened and the events of its life.';
COMMENT ON COLUMN analytics_v1.proposals.before_storage_gb IS
    'Whole GB of storage that it stated. Never null. Source: lablet_definition.proposal_opened and the events of its life.';
COMMENT ON COLUMN analytics_v1.proposals.after_cpu_cores IS
    'Whole cores that are proposed. Never null. Source: lablet_definition.proposal_opened and the events of its life.';
COMMENT ON COLUMN analytics_v1.proposals.after_memory_gb IS
    'Whole GB of memory that are proposed. Never null. Source: lablet_definition.proposal_opened and the events of its life.';
COMMENT ON COLUMN analytics_v1.proposals.after_storage_gb IS
    'Whole GB of storage that are proposed. Never null. Source: lablet_definition.proposal_opened and the events of its life.';
COMMENT ON COLUMN analytics_v1.proposals.session_count IS
    'Sessions that it rests on. Never null. Source: lablet_definition.proposal_opened and the events of its life.';
COMMENT ON COLUMN analytics_v1.proposals.reason IS
    'Why, in a sentence. Never null. Source: lablet_definition.proposal_opened and the events of its life.';
COMMENT ON COLUMN analytics_v1.proposals.rolls_back IS
    'Id of the proposal that did not hold. Null: it rolls none back. Source: lablet_definition.proposal_opened and the events of its life.';
COMMENT ON COLUMN analytics_v1.proposals.opened_by IS
    'Who proposed it. Never null. Source: lablet_definition.proposal_opened and the events of its life.';
COMMENT ON COLUMN analytics_v1.proposals.opened_at IS
    'When. Never null. Source: lablet_definition.proposal_opened and the events of its life.';
COMMENT ON COLUMN analytics_v1.proposals.claimed_by IS
    'Who claimed it. Null: nobody did. Source: lablet_definition.proposal_opened and the events of its life.';
COMMENT ON COLUMN analytics_v1.proposals.claimed_at IS
    'When. Null: nobody claimed it. Source: lablet_definition.proposal_opened and the events of its life.';
COMMENT ON COLUMN analytics_v1.proposals.ended_by IS
    'Who applied it, said that it failed, or dismissed it. Null: it goes on, or was superseded. Source: lablet_definition.proposal_opened and the events of its life.';
COMMENT ON COLUMN analytics_v1.proposals.ended_at IS
    'When it was applied, failed, dismissed or superseded. Null: it goes on. Source: lablet_definition.proposal_opened and the events of its life.';
COMMENT ON COLUMN analytics_v1.proposals.end_reason IS
    'Why it failed, was dismissed or superseded. Null: it was none of these. Source: lablet_definition.proposal_opened and the events of its life.';
COMMENT ON COLUMN analytics_v1.proposals.revision IS
    'Revision of the definition that it became. Null: it was not applied. Source: lablet_definition.proposal_opened and the events of its life.';
COMMENT ON COLUMN analytics_v1.proposals.policy_set_by IS
    'Who set the policy by which it applied by itself. Null: somebody applied it, or nobody did. Source: lablet_definition.proposal_opened and the events of its life.';
COMMENT ON COLUMN analytics_v1.proposals.superseded_by IS
    'Id of the proposal in its place. Null: there is none. Source: lablet_definition.proposal_opened and the events of its life.';
COMMENT ON COLUMN analytics_v1.proposals.held IS
    'Whether the sessions after it kept within it. Null: it was not verified. Source: lablet_definition.proposal_opened and the events of its life.';
COMMENT ON COLUMN analytics_v1.proposals.verified_session_count IS
    'Sessions that say so. Null: it was not verified. Source: lablet_definition.proposal_opened and the events of its life.';
COMMENT ON COLUMN analytics_v1.proposals.verified_at IS
    'When it was verified. Null: it was not. Source: lablet_definition.proposal_opened and the events of its life.';
COMMENT ON COLUMN analytics_v1.proposals.opened_event_id IS
    'The event by which it was opened. Never null. Source: lablet_definition.proposal_opened and the events of its life.';
COMMENT ON COLUMN analytics_v1.proposals.position IS
    'Position of the last event that this row rests on; sorts as text. Source: the log''s global order.';

COMMENT ON VIEW analytics_v1.definition_recommendations IS
    'What was last recommended of each definition, one row a definition and resource: as of its last own session, revision or policy. Source: lablet_session.resources_observed, lablet_definition.created, lablet_definition.revised and the policies.';
COMMENT ON COLUMN analytics_v1.definition_recommendations.definition_id IS
    'Id of the definition. Never null. Source: lablet_session.resources_observed, lablet_definition.created, lablet_definition.revised and the policies.';
COMMENT ON COLUMN analytics_v1.definition_recommendations.definition_revision IS
    'Its revision. Null: the definition is not known here, and its sessions are. Source: lablet_session.resources_observed, lablet_definition.created, lablet_definition.revised and the policies.';
COMMENT ON COLUMN analytics_v1.definition_recommendations.resource IS
    'cpu_cores (amounts are cores), memory_mb or storage_mb (amounts are MB). Never null. Source: lablet_session.resources_observed, lablet_definition.created, lablet_definition.revised and the policies.';
COMMENT ON COLUMN analytics_v1.definition_recommendations.configured IS
    'What the definition states: cores or MB. Null: the definition is not known here. Source: lablet_session.resources_observed, lablet_definition.created, lablet_definition.revised and the policies.';
COMMENT ON COLUMN analytics_v1.definition_recommendations.recommended IS
    'What keeps the promise: cores or MB. Null: nothing is known. Source: lablet_session.resources_observed, lablet_definition.created, lablet_definition.revised and the policies.';
COMMENT ON COLUMN analytics_v1.definition_recommendations.requirement IS
    'What the definition would state, in whole cores or GB and within its policy: cores or MB. Null: nothing is known. Source: lablet_session.resources_observed, lablet_definition.created, lablet_definition.revised and the policies.';
COMMENT ON COLUMN analytics_v1.definition_recommendations.definition_finding IS
    'What is found of the definition as a whole: under_provisioned, over_provisioned, right_sized or insufficient_evidence. Null: the definition is not known here. Source: lablet_session.resources_observed, lablet_definition.created, lablet_definition.revised and the policies.';
COMMENT ON COLUMN analytics_v1.definition_recommendations.ended_session_count IS
    'Sessions of it that ended, excluded ones too. Never null. Source: lablet_session.resources_observed, lablet_definition.created, lablet_definition.revised and the policies.';
COMMENT ON COLUMN analytics_v1.definition_recommendations.position IS
    'Position of the last event that this row rests on; sorts as text. Source: the log''s global order.';
