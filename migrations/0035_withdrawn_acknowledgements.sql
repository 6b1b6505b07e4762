-- Who withdrew an acknowledgement of drifted ports is among who changed what. An index's condition cannot be changed, so it is
-- made again.
DROP INDEX events_changes;
CREATE INDEX events_changes ON events (epoch, written_by, position) WHERE event_type IN (
    'lablet_definition.created', 'lablet_definition.revised', 'lablet_definition.policy_set',
    'lablet_definition.proposal_claimed', 'lablet_definition.proposal_applied',
    'lablet_definition.proposal_failed', 'lablet_definition.proposal_dismissed', 'advice_policy.set',
    'worker.registered', 'worker.changed', 'lablet_session.evidence_excluded',
    'lablet_session.evidence_included', 'lablet_session.port_drift_acknowledged',
    'lablet_session.port_drift_acknowledgement_withdrawn', 'lablet_session.allocation_corrected');
