-- The watcher gathers statistics of the log, in whichever process it runs.
GRANT EXECUTE ON FUNCTION analyze_log() TO lablet_projector;
