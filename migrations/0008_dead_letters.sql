-- Dead letters are bounded: by age, by bytes, and for each team; what was not kept of a message is said, and why one was
-- discarded is kept as data.

alter table dead_letters
    -- The team that sent a command, or empty where its subject names none.
    add column team text not null default '',
    -- What is kept of the message: all of it, all but secrets, its beginning, or nothing.
    add column payload_kept text not null default 'whole'
        check (payload_kept in ('whole', 'masked', 'beginning', 'none', 'removed')),
    -- Size of the message as it came.
    add column message_bytes bigint not null default 0,
    -- Size of what is kept of it, headers included.
    add column kept_bytes bigint not null default 0,
    -- Headers as they came, where they cannot be read as text.
    add column raw_headers bytea,
    -- Why it was discarded.
    add column settled_reason text;

update dead_letters
   set message_bytes = octet_length(payload),
       kept_bytes = octet_length(payload) + octet_length(headers::text),
       team = case when kind = 'command' then left(split_part(source, '.', 3), 64) else '' end;

-- Sums by team, without the letters themselves.
create index dead_letters_team on dead_letters (kind, team) include (kept_bytes);
create index dead_letters_settled on dead_letters (settled_at) where status <> 'waiting';

-- Commands that were delivered again and again without an end, while they are handled alone: one that is still here after
-- a restart has ended the process.
create table command_trials (
    fingerprint bytea primary key,
    begun bigint not null,
    begun_at timestamptz not null
);

comment on table command_trials is 'Commands that are handled alone, as they may have ended a process, and how often that was begun.';

grant select, insert, update, delete on command_trials to lablet_app;
