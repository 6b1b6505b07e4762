"""Reads the notices of a subject until one of each wanted type was there, holds each of them against the schema that it
names, and prints them.

Usage: validate_notices.py NATS_URL SUBJECT TYPE...
"""

import asyncio
import json
import sys
import urllib.request

import nats
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from jsonschema import Draft202012Validator, FormatChecker


def validator(schema_url: str) -> Draft202012Validator:
    with urllib.request.urlopen(schema_url, timeout=30) as answer:
        schema = json.load(answer)
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema, format_checker=FormatChecker())


async def main(url: str, subject: str, *wanted: str) -> None:
    connection = await nats.connect(url)
    subscription = await connection.jetstream().subscribe(subject, ordered_consumer=True)
    missing, validators, notices = set(wanted), {}, []
    while missing:
        message = await subscription.next_msg(timeout=60)
        event = JSONFormat().read(CloudEvent, message.data)
        attributes = event.get_attributes()
        kind = attributes["type"]
        aggregate, name, version = kind.removeprefix("io.lablet.").split(".")
        assert version == "v1", kind
        assert message.subject == f"lablet.events.{aggregate}.{name}.{attributes['subject']}", message.subject
        assert attributes["source"] == f"/lablet/{aggregate}", attributes
        schema = attributes["dataschema"]
        assert schema.endswith(f"/{kind}.0.json"), schema
        if schema not in validators:
            validators[schema] = validator(schema)
        validators[schema].validate(event.get_data())
        notices.append({"type": kind, "subject": attributes["subject"], "data": event.get_data()})
        missing.discard(kind)
    print(json.dumps(notices))
    await connection.close()


asyncio.run(main(*sys.argv[1:]))
