"""Reads COUNT events of a subject from the stream of events and prints them, as CloudEvents' own library sees them.

Usage: read_events.py NATS_URL SUBJECT COUNT
"""

import asyncio
import json
import sys

import nats
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent


async def main(url: str, subject: str, count: str) -> None:
    connection = await nats.connect(url)
    subscription = await connection.jetstream().subscribe(subject, ordered_consumer=True)
    seen = []
    for _ in range(int(count)):
        message = await subscription.next_msg(timeout=30)
        headers = {name.lower(): value for name, value in (message.headers or {}).items()}
        assert headers["content-type"].startswith("application/cloudevents+json"), headers
        event = JSONFormat().read(CloudEvent, message.data)
        attributes = event.get_attributes()
        seen.append(
            {
                "id": attributes["id"],
                "source": attributes["source"],
                "type": attributes["type"],
                "subject": attributes["subject"],
                "time": attributes["time"].isoformat(),
                "position": attributes["position"],
                "previousposition": attributes["previousposition"],
                "data": event.get_data(),
            }
        )
    print(json.dumps(seen))
    await connection.close()


asyncio.run(main(*sys.argv[1:]))
