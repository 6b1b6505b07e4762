-- A standby that was promoted goes on with the server's identifier, and with transaction numbers that events may have had which
-- never reached it. Without a new epoch, new events would stand before lost ones that others were told of.

ALTER TABLE log_epochs
    -- Whether it began because a standby was promoted; what was lost by that is beyond after_position, and may be nothing.
    ADD COLUMN promoted boolean NOT NULL DEFAULT false,
    -- How many events the bus has told of that were lost by it; null: nobody has looked yet, or it did not begin so.
    ADD COLUMN lost_events integer;
COMMENT ON TABLE log_epochs IS 'Epochs of the log: one more each time it was restored from a backup, or a standby was promoted.';
-- The relay looks for them.
GRANT UPDATE (lost_events) ON log_epochs TO lablet_app;

-- The server's timeline as it writes now. The control file has the old one until the first checkpoint after a promotion.
CREATE FUNCTION log_timeline() RETURNS integer
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::integer
$$;

-- The epoch that events are appended in: a new one where the server was promoted since the last one began. Called once by each
-- connection that appends or keeps read models, before anything else: so nothing is written on another timeline under the epoch
-- of the one before.
CREATE FUNCTION current_log_epoch() RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '5s'
AS $$
DECLARE
    known     record;
    survivor  text;
    new_epoch integer;
BEGIN
    IF pg_is_in_recovery() THEN
        RAISE EXCEPTION 'this server is a standby, which cannot be written to'
            USING ERRCODE = 'read_only_sql_transaction', HINT = 'LABLET_DATABASE_URL has to lead to the primary';
    END IF;
    CASE public.log_restore()
        WHEN 'unfinished' THEN
            RAISE EXCEPTION 'this database is being restored, or its restore was interrupted'
                USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'Restore into an empty database: lablet restore';
        WHEN 'epoch_due' THEN
            RAISE EXCEPTION 'this database was restored from a backup, and no new epoch has begun'
                USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'As its owner: lablet migrate --restored';
        ELSE NULL;
    END CASE;
    SELECT e.epoch, e.timeline INTO known FROM public.log_epoch e;
    IF known.timeline >= public.log_timeline() THEN
        RETURN known.epoch;
    END IF;
    -- One of all who meet the new timeline begins the epoch; the others wait here, and find it begun.
    SELECT e.epoch, e.timeline INTO known FROM public.log_epoch e FOR UPDATE;
    IF known.timeline >= public.log_timeline() THEN
        RETURN known.epoch;
    END IF;
    IF known.timeline IS NULL THEN
        UPDATE public.log_epoch SET timeline = public.log_timeline();
        RETURN known.epoch;
    END IF;
    -- Waits for whoever is still writing, so that every event of the epochs before is committed.
    LOCK TABLE public.events IN ACCESS EXCLUSIVE MODE;
    SELECT lpad(e.epoch::text, 10, '0') || '-' || lpad(e.written_by::text, 20, '0') || '-' || lpad(e.position::text, 19, '0')
      INTO survivor
      FROM public.events e ORDER BY e.epoch DESC, e.written_by DESC, e.position DESC LIMIT 1;
    UPDATE public.log_epoch
       SET epoch = greatest(epoch, (SELECT max(e.epoch) FROM public.events e)) + 1, timeline = public.log_timeline()
    RETURNING epoch INTO new_epoch;
    INSERT INTO public.log_epochs (epoch, after_position, promoted) VALUES (new_epoch, survivor, true);
    EXECUTE format('ALTER TABLE public.events ALTER COLUMN epoch SET DEFAULT %s', new_epoch);
    -- Whoever holds a lease rests on what it was told before: it takes it again, and begins with what the standby had.
    UPDATE public.relays SET lease_epoch = lease_epoch + 1, leased_until = NULL, holder = NULL;
    RETURN new_epoch;
END
$$;

-- Nobody moves a checkpoint or takes a lease on a timeline on which no epoch has begun: what is remembered of the bus stays as the
-- standby had it, by which the relay finds what was lost.
CREATE FUNCTION refuse_leases_before_the_epoch() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF (SELECT e.timeline < public.log_timeline() FROM public.log_epoch e) THEN
        RAISE EXCEPTION 'a standby was promoted, and no new epoch of the log has begun yet'
            USING ERRCODE = 'cannot_connect_now', HINT = 'It begins when somebody appends, or with a relay';
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER relays_begin_with_the_epoch BEFORE UPDATE ON relays
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_leases_before_the_epoch();

-- Versions before this one ask so.
CREATE OR REPLACE FUNCTION refuse_to_append_to_a_restored_log() RETURNS void
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM public.current_log_epoch();
END
$$;

REVOKE EXECUTE ON FUNCTION log_timeline(), current_log_epoch(), refuse_leases_before_the_epoch() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION log_timeline(), current_log_epoch() TO lablet_app, lablet_projector;
