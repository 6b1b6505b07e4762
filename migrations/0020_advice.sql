-- What definitions need: evidence of sessions, sums from which advice is given, how it did, and proposals.

DO $$
DECLARE
    tables text;
BEGIN
    FOREACH tables IN ARRAY ARRAY['read_advice', 'read_advice_next', 'read_advice_retired'] LOOP
        EXECUTE format('CREATE SCHEMA %I AUTHORIZATION lablet_app', tables);
    END LOOP;
END
$$;
INSERT INTO structure_locks (read_model) VALUES ('advice');

SET LOCAL ROLE lablet_app;
SET LOCAL search_path = read_advice;

CREATE TABLE checkpoint (LIKE read_workers.checkpoint INCLUDING ALL);
INSERT INTO checkpoint (position, revision) VALUES ('0000000000-00000000000000000000-0000000000000000000', 1);
CREATE TABLE applied (LIKE read_workers.applied INCLUDING ALL);
CREATE TABLE dead_letters (LIKE read_workers.dead_letters INCLUDING ALL);

-- Sessions that ran. NULL: unknown, or not yet.
CREATE TABLE sessions (
    session_id text PRIMARY KEY,
    definition_id text NOT NULL,
    definition_revision integer NOT NULL,
    worker_id text,
    cml_version text,
    worker_short boolean,
    observation_count bigint NOT NULL,
    observed_at timestamptz,
    no_evidence text,
    contradictions jsonb NOT NULL,
    topology jsonb NOT NULL,
    topology_key text,
    topology_observed_at timestamptz,
    nominal jsonb NOT NULL,
    -- Until its end what each node needed, from then on what kinds of nodes did.
    nodes jsonb,
    kinds jsonb NOT NULL,
    demands jsonb NOT NULL,
    cpu_cores double precision,
    memory_mb double precision,
    storage_mb double precision,
    running_at timestamptz,
    running_position text COLLATE "C",
    ended_at timestamptz,
    ended_position text COLLATE "C",
    ended_event_id uuid,
    excluded boolean NOT NULL,
    advice jsonb,
    missed boolean NOT NULL,
    -- What it added to the sums, and what excluding it took out.
    steps jsonb,
    exclusion jsonb,
    position text COLLATE "C" NOT NULL
);
CREATE INDEX ON sessions (definition_id, ended_position);
CREATE INDEX ON sessions (ended_position);
CREATE INDEX ON sessions (definition_id, cpu_cores DESC) WHERE ended_position IS NOT NULL;
CREATE INDEX ON sessions (definition_id, memory_mb DESC) WHERE ended_position IS NOT NULL;
CREATE INDEX ON sessions (definition_id, storage_mb DESC) WHERE ended_position IS NOT NULL;

CREATE INDEX ON sessions (ended_position) WHERE missed AND NOT excluded;
CREATE INDEX ON sessions (definition_id, ended_position) WHERE missed AND NOT excluded;

CREATE TABLE exclusions (
    session_id text NOT NULL,
    position text COLLATE "C" NOT NULL,
    definition_id text NOT NULL,
    excluded boolean NOT NULL,
    reason text NOT NULL,
    changed_by text NOT NULL,
    changed_at timestamptz NOT NULL,
    event_id uuid NOT NULL,
    PRIMARY KEY (session_id, position)
);

CREATE TABLE definitions (
    definition_id text PRIMARY KEY,
    revision integer,
    requirements jsonb,
    stated jsonb,
    policy jsonb,
    learnt jsonb,
    learnt_observed_at timestamptz,
    topologies jsonb NOT NULL,
    position text COLLATE "C" NOT NULL
);

CREATE TABLE definition_sums (
    definition_id text PRIMARY KEY,
    ended bigint NOT NULL,
    sums jsonb NOT NULL,
    scores jsonb NOT NULL,
    finding jsonb,
    requirement jsonb NOT NULL,
    value jsonb NOT NULL,
    position text COLLATE "C" NOT NULL
);
CREATE INDEX ON definition_sums (ended DESC, definition_id);

CREATE TABLE definition_topologies (
    definition_id text NOT NULL,
    topology_key text NOT NULL,
    own jsonb NOT NULL,
    PRIMARY KEY (definition_id, topology_key)
);

-- What was so from a position on.
CREATE TABLE definition_facts (
    definition_id text NOT NULL,
    position text COLLATE "C" NOT NULL,
    revision integer NOT NULL,
    requirements jsonb NOT NULL,
    stated jsonb,
    policy jsonb,
    PRIMARY KEY (definition_id, position)
);
CREATE TABLE learnt_topologies (
    definition_id text NOT NULL,
    position text COLLATE "C" NOT NULL,
    topology jsonb NOT NULL,
    session_id text NOT NULL,
    event_id uuid NOT NULL,
    observed_at timestamptz NOT NULL,
    PRIMARY KEY (definition_id, position)
);
CREATE TABLE default_policies (
    position text COLLATE "C" PRIMARY KEY,
    policy jsonb,
    set_by text NOT NULL,
    set_at timestamptz NOT NULL
);
CREATE TABLE current_policy (
    policy_id text PRIMARY KEY,
    policy jsonb,
    position text COLLATE "C" NOT NULL
);

-- Sums over all labs (owner is empty), and over those of a definition.
CREATE TABLE pools (
    owner text NOT NULL,
    node_definition text NOT NULL,
    pools jsonb NOT NULL,
    PRIMARY KEY (owner, node_definition)
);
CREATE TABLE fleet (
    fleet text PRIMARY KEY,
    whole jsonb NOT NULL
);
CREATE TABLE scores (
    resource text NOT NULL,
    bucket integer NOT NULL,
    from_spread integer NOT NULL,
    counts jsonb NOT NULL,
    PRIMARY KEY (resource, bucket, from_spread)
);
CREATE TABLE months (
    month text NOT NULL,
    bucket integer NOT NULL,
    resource text NOT NULL,
    sums jsonb NOT NULL,
    PRIMARY KEY (month, bucket, resource)
);

CREATE TABLE proposals (
    proposal_id text PRIMARY KEY,
    definition_id text NOT NULL,
    status text NOT NULL,
    proposal jsonb NOT NULL,
    version integer NOT NULL,
    opened_by text NOT NULL,
    opened_at timestamptz NOT NULL,
    opened_event_id uuid NOT NULL,
    claimed_by text,
    claimed_at timestamptz,
    claim_reason text,
    claimed_event_id uuid,
    ended_by text,
    ended_at timestamptz,
    end_reason text,
    ended_event_id uuid,
    revision integer,
    policy_set_by text,
    superseded_by text,
    verification jsonb,
    verified_by text,
    verified_at timestamptz,
    verified_event_id uuid,
    opened_position text COLLATE "C" NOT NULL,
    position text COLLATE "C" NOT NULL
);
CREATE INDEX ON proposals (opened_position);
CREATE INDEX ON proposals (definition_id, opened_position);
CREATE INDEX ON proposals (status, opened_position);

SET LOCAL search_path = public;

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
          FROM read_workers.checkpoint
        UNION ALL SELECT 'advice' AS projection, position, moved_at, revision,
               (SELECT count(*) FROM read_advice.dead_letters WHERE reason IS NOT NULL) AS parked_aggregates
          FROM read_advice.checkpoint) checkpoints
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
