"""Holds CloudEvents against the schemas of an AsyncAPI document.

Arguments: the document, and a file with a list of events. Prints how many are valid.
"""

import json
import sys

import jsonschema_rs

document, events = (json.load(open(path)) for path in sys.argv[1:])
schemas = document["components"]["schemas"]
payloads = {
    message["name"]: message["payload"] for message in document["components"]["messages"].values() if "payload" in message
}
for event in events:
    schema = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "allOf": [payloads[event["type"]]],
        "components": {"schemas": schemas},
    }
    found = list(jsonschema_rs.validator_for(schema, validate_formats=True).iter_errors(event))
    assert not found, (event["type"], [(error.message, error.instance_path) for error in found])
print(len(events))
