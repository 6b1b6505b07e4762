"""Keeps a table of sessions from Lablet's events: none is missed, none counts twice, whatever is stopped or lost.

    consumer.py DATABASE [--events COUNT]

DATABASE is an SQLite file. Environment: LABLET_NATS_URL, LABLET_URL (the gateway), LABLET_API_KEY (an internal key).
With --events it ends once it has applied so many, and prints what it did and what it has.
"""

import argparse
import asyncio
import json
import os
import re
import sqlite3
import sys
import urllib.parse
import urllib.request

import nats
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from nats.js.errors import APIError, NotFoundError

STREAM, SUBJECT, DURABLE = "LABLET_EVENTS", "lablet.events.>", "inventory"


class Sessions:
    """What this service keeps. Rows and checkpoint change in one transaction, so a crash loses neither alone."""

    def __init__(self, path: str) -> None:
        self.database = sqlite3.connect(path, check_same_thread=False)
        self.database.executescript(
            """
            CREATE TABLE IF NOT EXISTS sessions (session_id TEXT PRIMARY KEY, status TEXT, observations INTEGER DEFAULT 0);
            CREATE TABLE IF NOT EXISTS checkpoint (only INTEGER PRIMARY KEY CHECK (only = 1), position TEXT NOT NULL);
            """
        )

    def position(self) -> str | None:
        row = self.database.execute("SELECT position FROM checkpoint").fetchone()
        return row[0] if row else None

    def all(self) -> dict:
        rows = self.database.execute("SELECT session_id, status, observations FROM sessions")
        return {session: {"status": status, "observations": count} for session, status, count in rows}

    def apply(self, event: dict) -> None:
        with self.database:
            if event["source"] == "/lablet/lablet_session":
                self.database.execute("INSERT OR IGNORE INTO sessions (session_id) VALUES (?)", (event["subject"],))
                if "status" in event["data"]:
                    self.database.execute(
                        "UPDATE sessions SET status = ? WHERE session_id = ?", (event["data"]["status"], event["subject"])
                    )
                if event["type"] == "io.lablet.lablet_session.resources_observed.v1":
                    self.database.execute(
                        "UPDATE sessions SET observations = observations + 1 WHERE session_id = ?", (event["subject"],)
                    )
            self.database.execute(
                "INSERT INTO checkpoint VALUES (1, ?) ON CONFLICT (only) DO UPDATE SET position = excluded.position",
                (event["position"],),
            )


class Gateway:
    """The log over HTTP: what the bus no longer has, and data too large for it."""

    def __init__(self, address: str, key: str) -> None:
        self.address, self.key = address, key

    def get(self, url: str) -> tuple[bytes, str]:
        request = urllib.request.Request(url, headers={"X-API-Key": self.key})
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.read(), answer.headers.get("Link", "")

    def between(self, after: str | None, before: str):
        """The events after one position and before another, in the order of the log."""
        url = f"{self.address}/api/events?before={before}" + (f"&after={after}" if after else "")
        while url:
            body, link = self.get(url)
            yield from json.loads(body)
            found = re.search(r'<([^>]+)>; *rel="next"', link)
            url = urllib.parse.urljoin(url, found.group(1)) if found else None

    def with_data(self, event: dict) -> dict:
        """An event whose data would not fit says where the data is, and has none."""
        if "data" in event:
            return event
        body, _ = self.get(event["dataref"])
        return event | {"data": json.loads(body)}


class Consumer:
    def __init__(self, sessions: Sessions, gateway: Gateway) -> None:
        self.sessions, self.gateway = sessions, gateway
        self.did = {"applied": 0, "read_from_the_log": 0, "repeated": 0}

    def events(self) -> int:
        return self.did["applied"] + self.did["read_from_the_log"]

    def take(self, event: dict) -> None:
        """Applies an event once, and before it whatever is missing."""
        checkpoint = self.sessions.position()
        if checkpoint is not None and event["position"] <= checkpoint:
            self.did["repeated"] += 1
            return
        if event["previousposition"] != checkpoint:
            for missing in self.gateway.between(checkpoint, event["position"]):
                self.sessions.apply(self.gateway.with_data(missing))
                self.did["read_from_the_log"] += 1
        self.sessions.apply(self.gateway.with_data(event))
        self.did["applied"] += 1


def read(message) -> dict:
    headers = {name.lower(): value for name, value in (message.headers or {}).items()}
    if not headers.get("content-type", "").startswith("application/cloudevents+json"):
        raise ValueError(f"no structured CloudEvent on {message.subject}")
    event = JSONFormat().read(CloudEvent, message.data)
    data = event.get_data()
    return event.get_attributes() | ({} if data is None else {"data": data})


async def subscribe(jetstream):
    """The durable consumer: made where it is missing, found where it is there. It survives this process."""
    config = ConsumerConfig(
        deliver_policy=DeliverPolicy.ALL, ack_policy=AckPolicy.EXPLICIT, ack_wait=30, max_ack_pending=1000
    )
    return await jetstream.pull_subscribe(SUBJECT, durable=DURABLE, stream=STREAM, config=config)


async def subscribed(jetstream, subscription):
    """The subscription, or another where its consumer is gone: silence is what a stream that was lost looks like, too."""
    try:
        await subscription.consumer_info()
        return subscription
    except NotFoundError:
        return await subscribe(jetstream)


async def run(consumer: Consumer, events: int | None) -> None:
    # -1: come back however long the bus is away. What is fetched meanwhile fails, and is tried again.
    connection = await nats.connect(os.environ["LABLET_NATS_URL"], max_reconnect_attempts=-1)
    jetstream = connection.jetstream()
    subscription = await subscribe(jetstream)
    while events is None or consumer.events() < events:
        try:
            wanted = 100 if events is None else min(100, events - consumer.events())
            messages = await subscription.fetch(wanted, timeout=5)
        except (APIError, nats.errors.Error) as error:
            try:
                subscription = await subscribed(jetstream, subscription)
            except (APIError, nats.errors.Error):
                print(f"the bus does not answer, trying again: {error}", file=sys.stderr)
                await asyncio.sleep(1)
            continue
        for message in messages:
            # In a thread: filling a hole waits for HTTP, and the connection has to go on answering pings. Where it fails,
            # the process ends without acknowledging, and the next one begins at the checkpoint.
            await asyncio.to_thread(consumer.take, read(message))
            await message.ack()
    await connection.close()


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("database")
    arguments.add_argument("--events", type=int)
    given = arguments.parse_args()
    consumer = Consumer(Sessions(given.database), Gateway(os.environ["LABLET_URL"], os.environ["LABLET_API_KEY"]))
    asyncio.run(run(consumer, given.events))
    print(json.dumps(consumer.did | {"sessions": consumer.sessions.all()}))


main()
