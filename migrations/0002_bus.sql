-- The bus: how far the relay has published, who may publish, and the messages that could not be handled.

create table relays (
    name text primary key,
    -- Raised whenever the lease changes hands: what an earlier holder still tries to write is refused by it.
    lease_epoch bigint not null default 0,
    holder text,
    leased_until timestamptz,
    -- Position and id of the last event whose publish was acknowledged; null before the first.
    position text,
    event_id uuid,
    -- The stream as it was then: when it was created, and where in it that event is.
    stream_created text,
    stream_first_sequence bigint,
    acked_sequence bigint,
    -- How often the stream was found lost, wiped or rolled back.
    losses bigint not null default 0,
    updated_at timestamptz not null default now()
);

comment on table relays is 'How far the log was published to the bus, and the lease of the one relay that may publish.';

insert into relays (name) values ('events');

create table dead_letters (
    id uuid primary key,
    kind text not null check (kind in ('command', 'projection')),
    -- A command's subject, or a projection's name.
    source text not null,
    reason text not null,
    -- The same message again (a repeated delivery, a repeated sending) is the same dead letter.
    fingerprint bytea not null,
    aggregate_type text,
    aggregate_id text,
    event_id uuid,
    position text,
    headers jsonb not null default '{}',
    payload bytea not null,
    attempts bigint not null default 1,
    first_seen_at timestamptz not null,
    last_seen_at timestamptz not null,
    status text not null default 'waiting' check (status in ('waiting', 'retried', 'discarded')),
    settled_by text,
    settled_at timestamptz,
    unique (kind, source, fingerprint)
);

comment on table dead_letters is 'Messages that could not be handled, with the reason, kept until somebody retries or discards them.';

create index dead_letters_waiting on dead_letters (kind, last_seen_at desc) where status = 'waiting';

grant select, insert, update on relays to lablet_app;
grant select, insert, update, delete on dead_letters to lablet_app;
