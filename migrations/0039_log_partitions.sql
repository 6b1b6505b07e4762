-- The log as a table that is partitioned by range of position. What there is becomes its first partition as it is: nothing is
-- read or written anew, and statements that name `events` go on, those of earlier versions and of stock postgres-es among them.
-- `lablet log cut` begins the next partition; what is older never changes again, and may lie elsewhere.

-- A partition has no identity of its own from Postgres 17 on: positions come from a sequence.
ALTER TABLE events RENAME TO events_1;
DO $$
DECLARE
    next_position bigint;
BEGIN
    SELECT CASE WHEN is_called THEN last_value + 1 ELSE last_value END INTO next_position FROM events_position_seq;
    ALTER TABLE events_1 ALTER COLUMN position DROP IDENTITY;
    EXECUTE format('CREATE SEQUENCE events_position_seq AS bigint START WITH %s', next_position);
END
$$;
ALTER TABLE events_1 ALTER COLUMN position SET DEFAULT nextval('events_position_seq');
GRANT USAGE ON SEQUENCE events_position_seq TO lablet_app;

-- Unique indexes are those of the partitions, as they do not hold the position.
CREATE TABLE events (LIKE events_1 INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING COMPRESSION) PARTITION BY RANGE (position);
ALTER SEQUENCE events_position_seq OWNED BY events.position;
ALTER TABLE events ATTACH PARTITION events_1 FOR VALUES FROM (MINVALUE) TO (MAXVALUE);

CREATE TRIGGER events_are_immutable
    BEFORE UPDATE OR DELETE OR TRUNCATE ON events
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_to_change_the_log();
ALTER TABLE events ENABLE ALWAYS TRIGGER events_are_immutable;

-- Everybody names `events`; nobody but the owner has a right to a partition alone.
REVOKE ALL ON events_1 FROM lablet_app;
REVOKE INSERT (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata, event_id,
               command_key, command_digest, command_events) ON events_1 FROM lablet_app;
GRANT SELECT, INSERT (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata, event_id,
                      command_key, command_digest, command_events) ON events TO lablet_app;

-- Views stand on a table, and not on its name: those on the log are made again, as they are.
DO $$
DECLARE
    view record;
    definition text;
    own_path text := current_setting('search_path');
BEGIN
    FOR view IN
        SELECT DISTINCT c.oid, n.nspname, c.relname, pg_get_userbyid(c.relowner) AS owner
          FROM pg_depend d
          JOIN pg_rewrite r ON r.oid = d.objid AND d.classid = 'pg_rewrite'::regclass
          JOIN pg_class c ON c.oid = r.ev_class
          JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = 'events_1'::regclass AND c.relkind = 'v'
    LOOP
        -- With every name in full.
        PERFORM set_config('search_path', '', true);
        definition := replace(pg_get_viewdef(view.oid), 'public.events_1 ', 'public.events ');
        EXECUTE format('SET LOCAL ROLE %I', view.owner);
        EXECUTE format('CREATE OR REPLACE VIEW %I.%I AS %s', view.nspname, view.relname, definition);
        RESET ROLE;
        PERFORM set_config('search_path', own_path, true);
    END LOOP;
END
$$;

-- The partitions in their order: `events_1`, `events_2`, and so on. Each takes a million million positions, so that its end is
-- known when it begins: rows that are there need not be looked through for it. Only the first one has no end, until the first
-- cut.
CREATE TABLE log_partitions (
    number           integer     PRIMARY KEY CHECK (number >= 1),
    began_at         timestamptz DEFAULT clock_timestamp(),
    -- When the next one took its place; null: events are appended to it.
    cut_at           timestamptz,
    -- How far its aggregates and keys have been noted below: of one that was cut its last event. Null: not at all, or it is empty.
    noted_epoch      integer,
    noted_written_by xid8,
    noted_position   bigint,
    noted_events     bigint      NOT NULL DEFAULT 0
);
COMMENT ON TABLE log_partitions IS 'Partitions of the log, events_1 and so on: when each began, when it was cut off, and its last event.';
INSERT INTO log_partitions (number, began_at) VALUES (1, NULL);
CREATE UNIQUE INDEX log_partitions_current ON log_partitions ((cut_at IS NULL)) WHERE cut_at IS NULL;
GRANT SELECT ON log_partitions TO lablet_app;

-- The first position of the first partition that may hold an event after this one in the order of all events: those before it
-- are not even opened. A transaction that began before a cut may have written after it, so that the orders of two neighbours
-- overlap; what a position alone says would miss events. With the owner's rights: whoever may read events may ask.
CREATE FUNCTION first_position_after(integer, xid8, bigint) RETURNS bigint
    LANGUAGE sql STABLE PARALLEL SAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    SELECT coalesce(min(number - 1), 0) * 1000000000000
      FROM public.log_partitions
     WHERE cut_at IS NULL OR (noted_epoch, noted_written_by, noted_position) > ($1, $2, $3)
$$;

-- What must not be appended again, of all partitions but the current one, which has unique indexes: the last sequence of each
-- aggregate, and where each command's key took effect. So an append costs the same with one old partition and with a hundred,
-- and asks none of them.
CREATE TABLE past_aggregates (
    aggregate_type text   COLLATE "C" NOT NULL,
    aggregate_id   text   COLLATE "C" NOT NULL,
    last_sequence  bigint NOT NULL,
    PRIMARY KEY (aggregate_type, aggregate_id)
);
COMMENT ON TABLE past_aggregates IS 'Last sequence of each aggregate in the old partitions of the log.';
CREATE TABLE past_commands (
    command_key text   COLLATE "C" PRIMARY KEY,
    position    bigint NOT NULL
);
COMMENT ON TABLE past_commands IS
    'Keys of commands that took effect in the old partitions of the log, with the position of the first event of each.';
GRANT SELECT ON past_aggregates, past_commands TO lablet_app;

-- Refuses an event whose aggregate is further in the old partitions, or whose command's key took effect there, as a unique
-- index refuses one of the current partition. With the owner's rights, as other programs may write with a role of their own.
CREATE FUNCTION refuse_what_the_past_holds() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    -- A snapshot from before the cut does not show what was noted by it.
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'events are appended in transactions of the level read committed'
            USING ERRCODE = 'feature_not_supported';
    END IF;
    IF EXISTS (SELECT FROM public.past_aggregates
                WHERE aggregate_type = NEW.aggregate_type COLLATE "C" AND aggregate_id = NEW.aggregate_id COLLATE "C"
                  AND last_sequence >= NEW.sequence)
       OR (NEW.command_key IS NOT NULL
           AND EXISTS (SELECT FROM public.past_commands WHERE command_key = NEW.command_key COLLATE "C")) THEN
        RAISE EXCEPTION 'event % of % % is in an old partition of the log, or its command took effect there',
            NEW.sequence, NEW.aggregate_type, NEW.aggregate_id USING ERRCODE = 'unique_violation';
    END IF;
    RETURN NEW;
END
$$;

-- Statistics of the log as a whole: Postgres' autovacuum gathers those of partitions only, and without the others a statement
-- that groups events by aggregate would read all of them. Says whether it was due: there are a fifth more than when it was last
-- done. Needs the owner's rights.
CREATE FUNCTION analyze_log() RETURNS boolean
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF (SELECT coalesce(sum(greatest(c.reltuples, 0)), 0) FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
         WHERE i.inhparent = 'public.events'::regclass)
       <= (SELECT 1000 + 1.2 * greatest(reltuples, 0) FROM pg_class WHERE oid = 'public.events'::regclass) THEN
        RETURN false;
    END IF;
    ANALYZE public.events;
    RETURN true;
END
$$;
REVOKE EXECUTE ON FUNCTION analyze_log() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION analyze_log() TO lablet_app;

-- The log is another table now, of the same database.
UPDATE log_epoch
   SET place = log_place()
 WHERE place = (SELECT system_identifier || '/' || 'public.events_1'::regclass::oid FROM pg_control_system());
