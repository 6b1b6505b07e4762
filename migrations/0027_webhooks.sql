-- Webhooks: how far each target has the log, and what operators decided about it. What a target is (its address, its
-- secrets) is configuration and not stored.

comment on table relays is 'Leases of those who carry the log elsewhere, one process each at a time: events, which publishes it to the bus and keeps here how far it has come, and webhooks.';

insert into relays (name) values ('webhooks');

create table webhook_targets (
    name text primary key,
    -- The epoch of the lease under which it is delivered to: what an earlier holder still writes is refused by it.
    lease_epoch bigint not null,
    host text not null,
    format text not null,
    configured boolean not null default true,
    -- Every event up to here was delivered, is none that the target wants, or lies in dead_letters.
    position text not null,
    -- A replay that is under way: the last position that was sent again, and where it ends.
    replay_position text,
    replay_until text,
    state text not null default 'active' check (state in ('active', 'paused', 'gone')),
    state_reason text,
    state_by text,
    state_since timestamptz not null default clock_timestamp(),
    -- Raised by every decision of an operator.
    decisions bigint not null default 0,
    -- The event that could not be delivered so far; null: nothing fails.
    failing_event uuid,
    failed_attempts bigint not null default 0,
    failing_since timestamptz,
    retry_at timestamptz,
    last_answer text,
    last_answer_at timestamptz,
    -- What the target agreed to: a hash of the address that was asked and the origin that it was asked for, and how many
    -- requests it allows a minute.
    handshake_with bytea,
    handshake_rate bigint,
    attempts bigint not null default 0,
    delivered bigint not null default 0,
    dead_lettered bigint not null default 0,
    updated_at timestamptz not null default clock_timestamp(),
    check ((replay_position is null) = (replay_until is null))
);

comment on table webhook_targets is 'Targets of webhooks: how far each has the log, how deliveries go, and what operators decided.';

grant select, insert, update, delete on webhook_targets to lablet_app;

alter table dead_letters
    drop constraint dead_letters_kind_check,
    add constraint dead_letters_kind_check check (kind in ('command', 'projection', 'webhook')),
    -- When somebody asked for another attempt, which the process that delivers webhooks makes; null: nobody.
    add column retry_requested_at timestamptz,
    add column retry_requested_by text;

create index dead_letters_retry_requested on dead_letters (source, retry_requested_at)
    where retry_requested_at is not null;
