-- Read models: derived from the log, each in a schema of its own, which can be dropped and comes back.
--
-- A rebuild copies the structure of the tables into read_NAME_next, fills them from the log, and lets the two change
-- places, so everything that has to change hands together lives in the schema: rows, checkpoint, ledger and dead
-- letters. lablet_app owns them all, because it rebuilds them; it has no right to make schemas of its own.

DO $$
DECLARE
    model text;
BEGIN
    FOREACH model IN ARRAY ARRAY['sessions', 'definitions', 'observations', 'observation_requests', 'workers'] LOOP
        EXECUTE format('CREATE SCHEMA %I AUTHORIZATION lablet_app', 'read_' || model);
        EXECUTE format('CREATE SCHEMA %I AUTHORIZATION lablet_app', 'read_' || model || '_next');
        EXECUTE format('CREATE SCHEMA %I AUTHORIZATION lablet_app', 'read_' || model || '_retired');
    END LOOP;
END
$$;

SET LOCAL ROLE lablet_app;

DO $$
DECLARE
    model text;
BEGIN
    FOREACH model IN ARRAY ARRAY['sessions', 'definitions', 'observations', 'observation_requests', 'workers'] LOOP
        EXECUTE format('SET LOCAL search_path = %I', 'read_' || model);

        -- One row. Whoever moves the model locks it, and moves it in the transaction of the rows.
        CREATE TABLE checkpoint (
            only_row boolean     PRIMARY KEY DEFAULT true CHECK (only_row),
            -- Every event up to here has been applied or lies in dead_letters.
            position text        COLLATE "C" NOT NULL,
            -- Revision of the fold that made the rows.
            revision integer     NOT NULL,
            moved_at timestamptz NOT NULL DEFAULT clock_timestamp()
        );
        INSERT INTO checkpoint (position, revision)
        VALUES ('0000000000-00000000000000000000-0000000000000000000', 1);

        -- Which events of each aggregate have been applied: nothing is applied twice, and verify compares it with the log.
        CREATE TABLE applied (
            aggregate_type text    NOT NULL,
            aggregate_id   text    NOT NULL,
            -- Of the newest event that was applied or discarded.
            sequence       bigint  NOT NULL,
            -- How many were applied.
            events         bigint  NOT NULL,
            -- Exclusive or over their ids.
            fingerprint    bigint  NOT NULL,
            -- Its later events wait in dead_letters.
            parked         boolean NOT NULL,
            PRIMARY KEY (aggregate_type, aggregate_id)
        );

        -- Events that could not be applied, and those behind them.
        CREATE TABLE dead_letters (
            event_id       uuid        PRIMARY KEY,
            position       text        COLLATE "C" NOT NULL,
            aggregate_type text        NOT NULL,
            aggregate_id   text        NOT NULL,
            sequence       bigint      NOT NULL,
            event_type     text        NOT NULL,
            -- NULL: it only waits behind an earlier one.
            reason         text,
            attempts       integer     NOT NULL DEFAULT 1,
            parked_at      timestamptz NOT NULL DEFAULT clock_timestamp()
        );
        CREATE UNIQUE INDEX ON dead_letters (aggregate_type, aggregate_id, sequence);
        CREATE INDEX ON dead_letters (position);
    END LOOP;
END
$$;

SET LOCAL search_path = read_sessions;

CREATE TABLE sessions (
    id                  text        PRIMARY KEY,
    definition_id       text        NOT NULL,
    definition_version  text        NOT NULL,
    definition_revision integer     NOT NULL,
    owner_id            text,
    status              text        NOT NULL,
    status_reason       text,
    status_since        timestamptz NOT NULL,
    worker_id           text,
    cml_lab_id          text,
    -- NULL: nothing was allocated.
    allocated_ports     jsonb,
    -- Of the newest observation that could read the tags, as are the columns up to verdict_observed_at.
    observed_ports      jsonb,
    unallocated         jsonb,
    -- NULL: unknown, no observation could read the tags yet.
    port_drift_detected boolean,
    port_drift          jsonb,
    verdict_event_id    uuid,
    verdict_sequence    bigint,
    verdict_observed_at timestamptz,
    -- Since when the verdicts have been saying that it drifted.
    drift_since         timestamptz,
    observation_count   bigint      NOT NULL DEFAULT 0,
    -- Of the newest observation, as are the columns up to observation_complete.
    observed_at         timestamptz,
    observed_event_id   uuid,
    observed_position   text        COLLATE "C",
    observed_resources  jsonb,
    observation_complete boolean,
    nominal_cpu_cores   double precision,
    nominal_memory_mb   double precision,
    open_requests       bigint      NOT NULL DEFAULT 0,
    timeslot_start      timestamptz,
    timeslot_end        timestamptz,
    created_at          timestamptz NOT NULL,
    updated_at          timestamptz NOT NULL,
    created_position    text        COLLATE "C" NOT NULL,
    position            text        COLLATE "C" NOT NULL,
    sequence            bigint      NOT NULL,
    search              text        NOT NULL GENERATED ALWAYS AS (
        lower(id || ' ' || definition_id || ' ' || coalesce(owner_id, '') || ' ' || coalesce(worker_id, '') || ' '
              || coalesce(cml_lab_id, ''))) STORED
);
CREATE UNIQUE INDEX ON sessions (created_position);
CREATE INDEX ON sessions (status, created_position);
CREATE INDEX ON sessions (definition_id, created_position);
CREATE INDEX ON sessions (worker_id, created_position);
CREATE INDEX ON sessions (created_position) WHERE port_drift_detected;
CREATE INDEX ON sessions (timeslot_end) WHERE status = 'running';

SET LOCAL search_path = read_definitions;

CREATE TABLE definitions (
    id               text        PRIMARY KEY,
    name             text        NOT NULL,
    version          text        NOT NULL,
    revision         integer     NOT NULL,
    cpu_cores        integer     NOT NULL,
    memory_gb        integer     NOT NULL,
    storage_gb       integer     NOT NULL,
    port_template    jsonb       NOT NULL,
    description      text,
    node_count       integer,
    created_at       timestamptz NOT NULL,
    updated_at       timestamptz NOT NULL,
    created_position text        COLLATE "C" NOT NULL,
    position         text        COLLATE "C" NOT NULL,
    sequence         bigint      NOT NULL,
    search           text        NOT NULL GENERATED ALWAYS AS (
        lower(id || ' ' || name || ' ' || version || ' ' || coalesce(description, ''))) STORED
);
CREATE UNIQUE INDEX ON definitions (created_position);

CREATE TABLE revisions (
    definition_id text        NOT NULL,
    revision      integer     NOT NULL,
    -- NULL for the first.
    before        jsonb,
    after         jsonb       NOT NULL,
    reason        text,
    evidence      jsonb       NOT NULL,
    revised_by    text,
    revised_at    timestamptz NOT NULL,
    event_id      uuid        NOT NULL,
    position      text        COLLATE "C" NOT NULL,
    PRIMARY KEY (definition_id, revision)
);

-- What was observed of each definition, for the sign beside it in a list.
CREATE TABLE indicators (
    definition_id     text        PRIMARY KEY,
    observation_count bigint      NOT NULL,
    observed_sessions bigint      NOT NULL,
    -- Sessions whose newest verdict is that their ports drifted.
    drift_sessions    bigint      NOT NULL,
    last_observed_at  timestamptz NOT NULL,
    last_event_id     uuid        NOT NULL,
    position          text        COLLATE "C" NOT NULL
);
CREATE TABLE indicated_sessions (
    session_id          text        PRIMARY KEY,
    port_drift_detected boolean,
    verdict_observed_at timestamptz
);

SET LOCAL search_path = read_observations;

CREATE TABLE observations (
    event_id                uuid        PRIMARY KEY,
    session_id              text        NOT NULL,
    definition_id           text        NOT NULL,
    definition_version      text        NOT NULL,
    definition_revision     integer     NOT NULL,
    worker_id               text,
    cml_lab_id              text,
    sequence                bigint      NOT NULL,
    position                text        COLLATE "C" NOT NULL,
    observed_at             timestamptz NOT NULL,
    recorded_at             timestamptz NOT NULL,
    observer                text,
    reported_by             text,
    request_id              text,
    -- NULL is unknown, in every quantity.
    nominal_cpu_cores       double precision,
    nominal_memory_mb       double precision,
    nominal_storage_mb      double precision,
    nominal_unknown_cpu_nodes     integer,
    nominal_unknown_memory_nodes  integer,
    nominal_unknown_storage_nodes integer,
    used_cpu_cores          double precision,
    used_memory_mb          double precision,
    used_storage_mb         double precision,
    used_unknown_cpu_nodes     integer,
    used_unknown_memory_nodes  integer,
    used_unknown_storage_nodes integer,
    highest_cpu_percent     double precision,
    node_count              bigint,
    nodes_booted            bigint,
    node_definitions_used   jsonb       NOT NULL,
    -- NULL: its sender did not say.
    complete                boolean,
    phase                   text,
    failed_reads            jsonb       NOT NULL,
    unreadable_entries      jsonb       NOT NULL,
    observed_ports          jsonb,
    port_drift_detected     boolean,
    -- From the event after it, when that says that the ports drifted.
    port_drift              jsonb,
    port_drift_event_id     uuid,
    unallocated             jsonb,
    cml_version             text,
    topology_fingerprint    text
);
CREATE UNIQUE INDEX ON observations (session_id, sequence);
CREATE INDEX ON observations (definition_id, position);
CREATE UNIQUE INDEX ON observations (position);

CREATE TABLE observation_nodes (
    event_id             uuid        NOT NULL,
    ordinal              integer     NOT NULL,
    session_id           text        NOT NULL,
    definition_id        text        NOT NULL,
    node_id              text        NOT NULL,
    label                text        NOT NULL,
    node_definition      text        NOT NULL,
    image_definition     text,
    state                text,
    cpus                 bigint,
    cpu_limit_percent    bigint,
    nominal_cpu_cores    double precision,
    nominal_memory_mb    double precision,
    used_cpu_percent     double precision,
    used_cpu_cores       double precision,
    used_memory_mb       double precision,
    used_storage_mb      double precision,
    disk_read_bytes      numeric,
    disk_written_bytes   numeric,
    booted_seconds       numeric,
    observed_at          timestamptz NOT NULL,
    position             text        COLLATE "C" NOT NULL,
    PRIMARY KEY (event_id, ordinal)
);
-- Usage is pooled over all labs by what a node is.
CREATE INDEX ON observation_nodes (node_definition, image_definition, position);

-- One row per observed session: the newest observation, and of each quantity the newest that was known.
CREATE TABLE observed_sessions (
    session_id          text        PRIMARY KEY,
    definition_id       text        NOT NULL,
    definition_version  text        NOT NULL,
    definition_revision integer     NOT NULL,
    worker_id           text,
    observation_count   bigint      NOT NULL,
    observed_at         timestamptz NOT NULL,
    observed_event_id   uuid        NOT NULL,
    complete            boolean,
    position            text        COLLATE "C" NOT NULL,
    cpu_cores           double precision,
    cpu_cores_event_id  uuid,
    cpu_cores_at        timestamptz,
    memory_mb           double precision,
    memory_mb_event_id  uuid,
    memory_mb_at        timestamptz,
    storage_mb          double precision,
    storage_mb_event_id uuid,
    storage_mb_at       timestamptz,
    node_count          bigint,
    node_count_event_id uuid,
    node_count_at       timestamptz,
    port_drift_detected boolean,
    port_drift_event_id uuid,
    port_drift_at       timestamptz
);
CREATE INDEX ON observed_sessions (definition_id, observed_at, session_id);

SET LOCAL search_path = read_observation_requests;

CREATE TABLE observation_requests (
    session_id         text        NOT NULL,
    request_id         text        NOT NULL,
    definition_id      text        NOT NULL,
    worker_id          text        NOT NULL,
    cml_lab_id         text        NOT NULL,
    requested_by       text        NOT NULL,
    requested_at       timestamptz NOT NULL,
    requested_event_id uuid        NOT NULL,
    outcome            text        NOT NULL CHECK (outcome IN ('open', 'recorded', 'failed', 'skipped')),
    reason             text,
    finished_at        timestamptz,
    outcome_event_id   uuid,
    created_position   text        COLLATE "C" NOT NULL,
    position           text        COLLATE "C" NOT NULL,
    PRIMARY KEY (session_id, request_id)
);
CREATE INDEX ON observation_requests (request_id);
CREATE UNIQUE INDEX ON observation_requests (created_position);
CREATE INDEX ON observation_requests (outcome, created_position);
CREATE INDEX ON observation_requests (session_id, created_position);

SET LOCAL search_path = read_workers;

CREATE TABLE workers (
    id               text        PRIMARY KEY,
    name             text        NOT NULL,
    address          text        NOT NULL,
    cpu_cores        integer     NOT NULL,
    memory_gb        integer     NOT NULL,
    storage_gb       integer     NOT NULL,
    max_nodes        integer     NOT NULL,
    first_port       integer     NOT NULL,
    last_port        integer     NOT NULL,
    registered_at    timestamptz NOT NULL,
    updated_at       timestamptz NOT NULL,
    created_position text        COLLATE "C" NOT NULL,
    position         text        COLLATE "C" NOT NULL,
    sequence         bigint      NOT NULL
);
CREATE UNIQUE INDEX ON workers (created_position);

RESET ROLE;
SET LOCAL search_path = public;

-- Events that somebody decided to do without where they cannot be applied. A decision, not a derived row: it outlives
-- rebuilds, and does not hinder an event that can be applied after all.
CREATE TABLE projection_discards (
    projection     text        NOT NULL,
    event_id       uuid        NOT NULL,
    aggregate_type text        NOT NULL,
    aggregate_id   text        NOT NULL,
    discarded_by   text        NOT NULL,
    reason         text        NOT NULL,
    discarded_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (projection, event_id)
);
CREATE INDEX ON projection_discards (projection, aggregate_type, aggregate_id);
GRANT SELECT, INSERT ON projection_discards TO lablet_app;
