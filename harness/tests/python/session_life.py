"""A session's life by the client that openapi-python-client gives.

Arguments: the folder of the generated client, the gateway's address, an admin's token, an internal key, and a prefix of
ids.
"""

import sys

folder, address, token, key, prefix = sys.argv[1:]
sys.path.insert(0, folder)

from lablet_client import AuthenticatedClient  # noqa: E402
from lablet_client.api.definitions import create_lablet_definition  # noqa: E402
from lablet_client.api.sessions import (  # noqa: E402
    create_lablet_session,
    show_lablet_session,
    list_lablet_sessions,
    record_resource_observation,
    transition_lablet_session,
)
from lablet_client.api.workers import register_worker  # noqa: E402
from lablet_client.models import (  # noqa: E402
    NewDefinition,
    NewSession,
    NewWorker,
    ObservationReport,
    Problem,
    SessionStatus,
    Transition,
)

admin = AuthenticatedClient(address, token=token)
service = AuthenticatedClient(address, token=key, prefix="", auth_header_name="X-API-Key")
definition, worker, session = f"{prefix}-definition", f"{prefix}-worker", f"{prefix}-session"


def succeeded(answer):
    """What was answered with a success."""
    assert answer is not None and not isinstance(answer, Problem), answer
    return answer


succeeded(
    create_lablet_definition.sync(
        client=admin,
        body=NewDefinition.from_dict(
            {
                "id": definition,
                "name": "OSPF",
                "version": "1.0",
                "resource_requirements": {"cpu_cores": 2, "memory_gb": 4, "storage_gb": 10},
            }
        ),
    )
)
succeeded(
    register_worker.sync(
        client=admin,
        body=NewWorker.from_dict(
            {
                "id": worker,
                "name": worker,
                "address": "https://127.0.0.1:1",
                "capacity": {"cpu_cores": 64, "memory_gb": 256, "storage_gb": 1000, "max_nodes": 320},
            }
        ),
    )
)
created = succeeded(create_lablet_session.sync(client=service, body=NewSession(id=session, definition_id=definition)))
assert created.status == SessionStatus.PENDING, created.status


def move(**step):
    """A step of the session's life."""
    return transition_lablet_session.sync(session, client=service, body=Transition.from_dict(step))


too_early = move(new_status="grading")
assert isinstance(too_early, Problem) and too_early.code == "refused", too_early

succeeded(move(new_status="scheduled", worker_id=worker, allocated_ports={"PC_serial": 5041}))
succeeded(move(new_status="instantiating"))
succeeded(move(new_status="ready"))
succeeded(move(new_status="running", cml_lab_id=f"{prefix}-lab"))

observed = succeeded(
    record_resource_observation.sync(
        session,
        client=service,
        idempotency_key=f"{prefix}-1",
        body=ObservationReport.from_dict(
            {
                "observed_resources": {"total_cpu_cores": 1.5, "total_memory_mb": 1024, "actual_node_count": 1},
                "observed_ports": {"PC_serial": 5041},
            }
        ),
    )
)
assert observed.port_drift_detected is False, observed

running = succeeded(
    list_lablet_sessions.sync(
        client=admin,
        status="running,collecting",
        definition_id=definition,
        position=observed.position,
    )
)
assert [row.status for row in running.items] == [SessionStatus.RUNNING], running

detail = succeeded(show_lablet_session.sync(session, client=admin))
assert detail.observed_resources.total_memory_mb == 1024, detail

for status in ("collecting", "grading", "stopping", "stopped", "archived"):
    succeeded(move(new_status=status))
absent = show_lablet_session.sync(f"{prefix}-absent", client=admin)
assert isinstance(absent, Problem) and absent.code == "not_found", absent
print("archived")
