-- The rows of advice are made again: a session keeps only what excluding it takes out.

SET LOCAL ROLE lablet_app;

-- Where nothing was applied yet, there is nothing to be made again.
UPDATE read_advice.checkpoint SET revision = 2 WHERE position LIKE '0000000000-%' AND revision = 1;

RESET ROLE;
