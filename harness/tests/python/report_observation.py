"""Reports two observations of a session on NATS, each of them three times: one in binary mode, one structured.

Usage: report_observation.py NATS_URL SESSION_ID
"""

import asyncio
import json
import sys

import nats
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

TYPE = "io.lablet.command.record_resource_observation.v1"
SUBJECT = "lablet.commands.grading.record_resource_observation"


def data(session: str, cores: float, memory: float, at: str) -> dict:
    return {
        "session_id": session,
        "observed_resources": {
            "observed_at": at,
            "observer": "grading",
            "total_cpu_cores": cores,
            "total_memory_mb": memory,
            "total_storage_mb": None,
            "nodes": [{"node_id": "n-1", "label": "PC", "node_definition": "desktop", "state": "BOOTED", "tags": ["serial:5041"]}],
            "actual_node_count": 1,
            "node_definitions_used": ["desktop"],
        },
        "observed_ports": {"PC_serial": 5041},
    }


async def main(url: str, session: str) -> None:
    connection = await nats.connect(url)
    jetstream = connection.jetstream()

    binary = json.dumps(data(session, 1.5, 1024, "2026-03-01T10:00:00Z")).encode()
    headers = {
        "ce-specversion": "1.0",
        "ce-id": f"{session}-binary",
        "ce-source": "/grading/python",
        "ce-type": TYPE,
        "content-type": "application/json",
    }
    for _ in range(3):
        await jetstream.publish(SUBJECT, binary, headers=headers)

    event = CloudEvent(
        {"specversion": "1.0", "id": f"{session}-structured", "source": "/grading/python", "type": TYPE, "datacontenttype": "application/json"},
        data(session, 2.5, 2048, "2026-03-01T10:05:00Z"),
    )
    for _ in range(3):
        await jetstream.publish(SUBJECT, JSONFormat().write(event), headers={"Content-Type": "application/cloudevents+json"})
    await connection.close()


asyncio.run(main(*sys.argv[1:]))
