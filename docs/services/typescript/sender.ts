// Reports what a session uses, once, however often it has to be sent.
//
//     sender.js SESSION CORES MEMORY_MB ID [--request]
//
// ID names the report: whoever is not sure whether it arrived sends it again under the same one. Environment:
// LABLET_NATS_URL, LABLET_TEAM (who this is to Lablet; the bus allows each team its own subjects alone).

import { setTimeout as sleep } from "node:timers/promises";
import { jetstream } from "@nats-io/jetstream";
import { connect, createInbox, headers, NoRespondersError, RequestError, TimeoutError } from "@nats-io/transport-node";
import type { NatsConnection } from "@nats-io/transport-node";
import { CloudEvent } from "cloudevents";
import { credentials } from "./credentials.js";

const COMMAND = "record_resource_observation";
// What may work later; docs/errors.md has all codes. Everything else stays wrong however often it is sent.
const WORTH_ANOTHER_TRY = ["unavailable", "timed_out"];

interface Reply {
  status: "recorded" | "already_done" | "repeated" | "refused";
  command_id?: string;
  position?: string;
  error?: { code: string; message: string };
}

type Way = (connection: NatsConnection, team: string, body: Uint8Array) => Promise<Reply>;

function structured() {
  const all = headers();
  all.set("Content-Type", "application/cloudevents+json");
  return all;
}

/// Through the stream of commands: once the bus has it, it is handled, also when Lablet is away until tomorrow.
const byStream: Way = async (connection, team, body) => {
  const inbox = createInbox();
  const replies = connection.subscribe(inbox, { max: 1, timeout: 30_000 });
  const all = structured();
  all.set("Lablet-Reply-To", inbox);
  await jetstream(connection).publish(`lablet.commands.${team}.${COMMAND}`, body, { headers: all });
  for await (const reply of replies) return reply.json<Reply>();
  throw new TimeoutError();
};

/// As a request: an answer now, or none; nothing is kept of it.
const byRequest: Way = async (connection, team, body) => {
  const subject = `lablet.requests.${team}.${COMMAND}`;
  const reply = await connection.request(subject, body, { headers: structured(), timeout: 30_000 });
  return reply.json<Reply>();
};

async function send(way: Way, connection: NatsConnection, team: string, body: Uint8Array): Promise<Reply> {
  let reply: Reply = { status: "refused" };
  for (let attempt = 0; attempt < 6; attempt += 1) {
    try {
      reply = await way(connection, team, body);
    } catch (error) {
      if (!(error instanceof TimeoutError || error instanceof NoRespondersError || error instanceof RequestError)) throw error;
      // It may have taken effect all the same. Under the same id it takes effect once.
      reply = { status: "refused", error: { code: "unavailable", message: error.message } };
    }
    if (!WORTH_ANOTHER_TRY.includes(reply.error?.code ?? "")) return reply;
    await sleep(Math.min(2 ** attempt, 30) * 1000);
  }
  return reply;
}

const [session = "", cores = "", memory = "", id = "", flag] = process.argv.slice(2);
const team = process.env.LABLET_TEAM ?? "";
const command = new CloudEvent({
  id,
  source: `/${team}/reports`,
  type: `io.lablet.command.${COMMAND}.v1`,
  datacontenttype: "application/json",
  data: {
    session_id: session,
    observed_resources: { total_cpu_cores: Number(cores), total_memory_mb: Number(memory) },
    observed_ports: { PC_serial: 5041 },
  },
});
const body = new TextEncoder().encode(JSON.stringify(command));
const connection = await connect({ ...credentials(), maxReconnectAttempts: -1 });
if (body.length > (connection.info?.max_payload ?? 0)) {
  throw new Error(`the command has ${body.length} bytes, more than this bus takes: send it over HTTP`);
}
const reply = await send(flag === "--request" ? byRequest : byStream, connection, team, body);
await connection.close();
console.log(JSON.stringify(reply));
process.exitCode = reply.status === "refused" ? 1 : 0;
