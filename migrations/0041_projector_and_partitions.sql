-- With its partitions the log became another table, to which the owner of the read models has no right yet; the views over it
-- are read with that role's rights.
GRANT SELECT ON events, log_partitions TO lablet_projector;
REVOKE ALL ON events_1 FROM lablet_projector;

-- Where reading the log begins is asked by whoever reads it, and by nobody else.
REVOKE EXECUTE ON FUNCTION first_position_after(integer, xid8, bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION first_position_after(integer, xid8, bigint) TO lablet_app, lablet_projector;
