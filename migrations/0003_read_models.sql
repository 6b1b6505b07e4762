-- Read models: derived from the log, lost and rebuilt without harm. They belong to the application's role, which may
-- replace them by rebuilt ones, while it may not touch the log.
--
-- No foreign keys: each table is filled by one projector, at its own pace. `position` is that of the last event that
-- changed a row, in the form of app::log::Position; it sorts as text. `events_applied` counts the events that a row
-- has seen, so that a skipped or repeated one shows as a difference from `sequence`.

CREATE SCHEMA read_models AUTHORIZATION lablet_app;
-- Where a rebuild keeps its tables until they are swapped in.
CREATE SCHEMA read_models_rebuild AUTHORIZATION lablet_app;

SET LOCAL ROLE lablet_app;

CREATE TABLE read_models.projection_checkpoints (
    -- A projector's name, or that with `.rebuild` while it is rebuilt.
    name       text        PRIMARY KEY,
    revision   integer     NOT NULL,
    position   text        COLLATE "C" NOT NULL,
    moved_at   timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- Events that a projector could not apply, and the later ones of the same aggregate, which wait for them.
CREATE TABLE read_models.projection_dead_letters (
    projection     text        NOT NULL,
    event_id       uuid        NOT NULL,
    position       text        COLLATE "C" NOT NULL,
    aggregate_type text        NOT NULL,
    aggregate_id   text        NOT NULL,
    sequence       bigint      NOT NULL,
    event_type     text        NOT NULL,
    reason         text        NOT NULL,
    attempts       integer     NOT NULL DEFAULT 1,
    status         text        NOT NULL DEFAULT 'parked' CHECK (status IN ('parked', 'discarded')),
    parked_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    settled_at     timestamptz,
    PRIMARY KEY (projection, event_id)
);
CREATE INDEX projection_dead_letters_aggregate
    ON read_models.projection_dead_letters (projection, aggregate_type, aggregate_id, sequence) WHERE status = 'parked';

-- Projector `sessions`.
CREATE TABLE read_models.sessions (
    id                  text        COLLATE "C" PRIMARY KEY,
    definition_id       text        COLLATE "C" NOT NULL,
    definition_version  text        NOT NULL,
    definition_revision integer     NOT NULL,
    status              text        NOT NULL,
    owner_id            text,
    worker_id           text        COLLATE "C",
    cml_lab_id          text,
    allocated_ports     jsonb,
    observed_ports      jsonb,
    -- Null: no observation could read the tags so far.
    port_drift_detected boolean,
    port_drift          jsonb,
    unallocated         jsonb,
    drift_observed_at   timestamptz,
    -- The observation that gave the verdict; the drift in detail is the event after it.
    drift_sequence      bigint,
    observation_count   bigint      NOT NULL DEFAULT 0,
    observed_at         timestamptz,
    timeslot_start      timestamptz,
    timeslot_end        timestamptz,
    created_at          timestamptz NOT NULL,
    updated_at          timestamptz NOT NULL,
    sequence            bigint      NOT NULL,
    events_applied      bigint      NOT NULL,
    position            text        COLLATE "C" NOT NULL
);
CREATE INDEX sessions_by_time ON read_models.sessions (created_at DESC, id DESC);
CREATE INDEX sessions_by_status ON read_models.sessions (status, created_at DESC, id DESC);
CREATE INDEX sessions_by_definition ON read_models.sessions (definition_id, created_at DESC, id DESC);
CREATE INDEX sessions_by_worker ON read_models.sessions (worker_id, created_at DESC, id DESC);
CREATE INDEX sessions_by_drift ON read_models.sessions (created_at DESC, id DESC) WHERE port_drift_detected;

-- Kept apart, so that lists of sessions do not carry the observations.
CREATE TABLE read_models.session_observed_resources (
    session_id         text        COLLATE "C" PRIMARY KEY,
    observed_resources json        NOT NULL,
    observed_at        timestamptz NOT NULL,
    event_id           uuid        NOT NULL,
    position           text        COLLATE "C" NOT NULL
);

-- Projector `definitions`.
CREATE TABLE read_models.definitions (
    id             text        COLLATE "C" PRIMARY KEY,
    name           text        NOT NULL,
    version        text        NOT NULL,
    revision       integer     NOT NULL,
    cpu_cores      integer     NOT NULL,
    memory_gb      integer     NOT NULL,
    storage_gb     integer     NOT NULL,
    port_template  jsonb       NOT NULL,
    node_count     integer,
    description    text,
    created_at     timestamptz NOT NULL,
    updated_at     timestamptz NOT NULL,
    sequence       bigint      NOT NULL,
    events_applied bigint      NOT NULL,
    position       text        COLLATE "C" NOT NULL
);
CREATE INDEX definitions_by_time ON read_models.definitions (created_at DESC, id DESC);

CREATE TABLE read_models.definition_revisions (
    definition_id text        COLLATE "C" NOT NULL,
    revision      integer     NOT NULL,
    before        jsonb       NOT NULL,
    after         jsonb       NOT NULL,
    reason        text        NOT NULL,
    evidence      text[]      NOT NULL,
    revised_by    text        NOT NULL,
    revised_at    timestamptz NOT NULL,
    event_id      uuid        NOT NULL,
    position      text        COLLATE "C" NOT NULL,
    PRIMARY KEY (definition_id, revision)
);

-- How much has been observed of a definition, counted as observations arrive.
CREATE TABLE read_models.definition_indicators (
    definition_id     text        COLLATE "C" PRIMARY KEY,
    observation_count bigint      NOT NULL,
    observed_sessions bigint      NOT NULL,
    drift_sessions    bigint      NOT NULL,
    last_observed_at  timestamptz NOT NULL,
    position          text        COLLATE "C" NOT NULL
);

-- What each session contributes to the indicator of its definition.
CREATE TABLE read_models.definition_observed_sessions (
    session_id          text        COLLATE "C" PRIMARY KEY,
    definition_id       text        COLLATE "C" NOT NULL,
    port_drift_detected boolean,
    drift_observed_at   timestamptz
);

-- Projector `workers`.
CREATE TABLE read_models.workers (
    id             text        COLLATE "C" PRIMARY KEY,
    name           text        NOT NULL,
    address        text        NOT NULL,
    cpu_cores      integer     NOT NULL,
    memory_gb      integer     NOT NULL,
    storage_gb     integer     NOT NULL,
    max_nodes      integer     NOT NULL,
    first_port     integer     NOT NULL,
    last_port      integer     NOT NULL,
    created_at     timestamptz NOT NULL,
    updated_at     timestamptz NOT NULL,
    sequence       bigint      NOT NULL,
    events_applied bigint      NOT NULL,
    position       text        COLLATE "C" NOT NULL
);
CREATE INDEX workers_by_time ON read_models.workers (created_at DESC, id DESC);

-- Projector `observations`: each observation, its nodes, and each observed session once with what is known of it.
CREATE TABLE read_models.observations (
    event_id            uuid             PRIMARY KEY,
    session_id          text             COLLATE "C" NOT NULL,
    definition_id       text             COLLATE "C" NOT NULL,
    definition_version  text             NOT NULL,
    definition_revision integer          NOT NULL,
    worker_id           text             COLLATE "C",
    cml_lab_id          text,
    request_id          text,
    observer            text,
    observed_at         timestamptz      NOT NULL,
    recorded_at         timestamptz      NOT NULL,
    total_cpu_cores     double precision,
    total_memory_mb     double precision,
    total_storage_mb    double precision,
    node_count          integer,
    used_cpu_cores      double precision,
    used_memory_mb      double precision,
    used_storage_mb     double precision,
    highest_cpu_percent double precision,
    -- Null: the observer did not say.
    complete            boolean,
    phase               text,
    nodes_booted        integer,
    failed_reads        integer,
    port_drift_detected boolean,
    cml_version         text,
    topology_fingerprint text,
    sequence            bigint           NOT NULL,
    position            text             COLLATE "C" NOT NULL
);
CREATE INDEX observations_by_session ON read_models.observations (session_id, observed_at DESC, sequence DESC);
CREATE INDEX observations_by_definition ON read_models.observations (definition_id, observed_at DESC);

CREATE TABLE read_models.observation_nodes (
    event_id           uuid             NOT NULL,
    place              integer          NOT NULL,
    node_id            text             NOT NULL,
    label              text             NOT NULL,
    node_definition    text             NOT NULL,
    image_definition   text,
    state              text,
    cpus               integer,
    cpu_limit_percent  integer,
    nominal_cpu_cores  double precision,
    nominal_memory_mb  bigint,
    used_cpu_percent   double precision,
    used_cpu_cores     double precision,
    used_memory_mb     double precision,
    used_disk_mb       double precision,
    disk_read_bytes    bigint,
    disk_written_bytes bigint,
    booted_seconds     bigint,
    PRIMARY KEY (event_id, place)
);

CREATE TABLE read_models.observed_sessions (
    session_id           text             COLLATE "C" PRIMARY KEY,
    definition_id        text             COLLATE "C" NOT NULL,
    definition_version   text             NOT NULL,
    definition_revision  integer          NOT NULL,
    observation_count    bigint           NOT NULL,
    -- The newest observation.
    observed_at          timestamptz      NOT NULL,
    event_id             uuid             NOT NULL,
    used_cpu_cores       double precision,
    used_memory_mb       double precision,
    used_storage_mb      double precision,
    highest_cpu_percent  double precision,
    complete             boolean,
    -- The newest known number of each quantity, when it was observed, and by which event.
    total_cpu_cores      double precision,
    cpu_observed_at      timestamptz,
    cpu_event_id         uuid,
    total_memory_mb      double precision,
    memory_observed_at   timestamptz,
    memory_event_id      uuid,
    total_storage_mb     double precision,
    storage_observed_at  timestamptz,
    storage_event_id     uuid,
    node_count           integer,
    nodes_observed_at    timestamptz,
    nodes_event_id       uuid,
    port_drift_detected  boolean,
    drift_observed_at    timestamptz,
    position             text             COLLATE "C" NOT NULL
);
CREATE INDEX observed_sessions_by_definition
    ON read_models.observed_sessions (definition_id, observed_at DESC, session_id DESC);

-- Projector `observation_requests`. A request's id is unique within its session.
CREATE TABLE read_models.observation_requests (
    session_id       text        COLLATE "C" NOT NULL,
    request_id       text        COLLATE "C" NOT NULL,
    definition_id    text        COLLATE "C" NOT NULL,
    worker_id        text        NOT NULL,
    cml_lab_id       text        NOT NULL,
    requested_by     text        NOT NULL,
    requested_at     timestamptz NOT NULL,
    event_id         uuid        NOT NULL,
    outcome          text        NOT NULL DEFAULT 'open'
                     CHECK (outcome IN ('open', 'recorded', 'failed', 'skipped')),
    reason           text,
    finished_at      timestamptz,
    outcome_event_id uuid,
    position         text        COLLATE "C" NOT NULL,
    PRIMARY KEY (session_id, request_id)
);
CREATE INDEX observation_requests_by_time
    ON read_models.observation_requests (requested_at DESC, session_id DESC, request_id DESC);
CREATE INDEX observation_requests_open
    ON read_models.observation_requests (requested_at DESC, session_id DESC, request_id DESC) WHERE outcome = 'open';

RESET ROLE;
