"""Reports what a session uses, once, however often it has to be sent.

    sender.py SESSION CORES MEMORY_MB --id ID [--request]

ID names the report: whoever is not sure whether it arrived sends it again under the same one. Environment:
LABLET_NATS_URL, LABLET_TEAM (who this is to Lablet; the bus allows each team its own subjects alone).
"""

import argparse
import asyncio
import json
import os
import sys

import nats
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from nats.errors import NoRespondersError
from nats.errors import TimeoutError as NoAnswer

COMMAND = "record_resource_observation"
STRUCTURED = {"Content-Type": "application/cloudevents+json"}
# What may work later; docs/errors.md has all codes. Everything else stays wrong however often it is sent.
WORTH_ANOTHER_TRY = {"unavailable", "timed_out"}


def command(team: str, identity: str, data: dict) -> bytes:
    attributes = {
        "specversion": "1.0",
        "id": identity,
        "source": f"/{team}/reports",
        "type": f"io.lablet.command.{COMMAND}.v1",
        "datacontenttype": "application/json",
    }
    return JSONFormat().write(CloudEvent(attributes, data))


async def by_stream(connection, team: str, body: bytes) -> dict:
    """Through the stream of commands: once the bus has it, it is handled, also when Lablet is away until tomorrow."""
    inbox = connection.new_inbox()
    replies = await connection.subscribe(inbox)
    await connection.jetstream().publish(
        f"lablet.commands.{team}.{COMMAND}", body, headers=STRUCTURED | {"Lablet-Reply-To": inbox}
    )
    return json.loads((await replies.next_msg(timeout=30)).data)


async def by_request(connection, team: str, body: bytes) -> dict:
    """As a request: an answer now, or none; nothing is kept of it."""
    reply = await connection.request(f"lablet.requests.{team}.{COMMAND}", body, headers=STRUCTURED, timeout=30)
    return json.loads(reply.data)


async def send(way, connection, team: str, body: bytes) -> dict:
    for attempt in range(6):
        try:
            reply = await way(connection, team, body)
        except (NoAnswer, NoRespondersError) as error:
            # It may have taken effect all the same. Under the same id it takes effect once.
            reply = {"status": "refused", "error": {"code": "unavailable", "message": str(error)}}
        if reply.get("error", {}).get("code") not in WORTH_ANOTHER_TRY:
            return reply
        await asyncio.sleep(min(2**attempt, 30))
    return reply


async def main() -> int:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("session")
    arguments.add_argument("cores", type=float)
    arguments.add_argument("memory_mb", type=float)
    arguments.add_argument("--id", required=True)
    arguments.add_argument("--request", action="store_true")
    given = arguments.parse_args()
    team = os.environ["LABLET_TEAM"]
    body = command(
        team,
        given.id,
        {
            "session_id": given.session,
            "observed_resources": {"total_cpu_cores": given.cores, "total_memory_mb": given.memory_mb},
            "observed_ports": {"PC_serial": 5041},
        },
    )
    connection = await nats.connect(os.environ["LABLET_NATS_URL"], max_reconnect_attempts=-1)
    if len(body) > connection.max_payload:
        sys.exit(f"the command has {len(body)} bytes, and this bus takes {connection.max_payload}: send it over HTTP")
    reply = await send(by_request if given.request else by_stream, connection, team, body)
    await connection.close()
    print(json.dumps(reply))
    return 1 if reply["status"] == "refused" else 0


sys.exit(asyncio.run(main()))
