// Keeps what each session's state is, from Lablet's events: none is missed, none counts twice, whatever is stopped or lost.
//
//     consumer.js FILE [--events COUNT]
//
// Environment: LABLET_NATS_URL, LABLET_URL (the gateway), LABLET_API_KEY (an internal key). With --events it ends once it has
// applied so many, and prints what it did and what it has.

import { existsSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { AckPolicy, type Consumer, DeliverPolicy, type JsMsg, jetstream, jetstreamManager } from "@nats-io/jetstream";
import { connect } from "@nats-io/transport-node";
import { CloudEvent } from "cloudevents";
import { credentials } from "./credentials.js";

const STREAM = "LABLET_EVENTS";
const SUBJECT = "lablet.events.>";
const DURABLE = "inventory-ts";

interface Session {
  status?: string;
  observations: number;
}

// A notice. The positions are extensions of CloudEvents, which sort as texts.
type Notice = CloudEvent<Record<string, unknown>> & { position: string; previousposition: string; dataref?: string };

/// What this service keeps: rows and checkpoint in one file, which is replaced as a whole, so a crash loses neither alone.
class Sessions {
  private kept: { checkpoint?: string; sessions: Record<string, Session> } = { sessions: {} };

  constructor(private readonly path: string) {
    if (existsSync(path)) this.kept = JSON.parse(readFileSync(path, "utf8"));
  }

  get all(): Record<string, Session> {
    return this.kept.sessions;
  }

  get checkpoint(): string | undefined {
    return this.kept.checkpoint;
  }

  apply(event: Notice): void {
    if (event.source === "/lablet/lablet_session" && event.subject) {
      const session = (this.kept.sessions[event.subject] ??= { observations: 0 });
      if (typeof event.data?.status === "string") session.status = event.data.status;
      if (event.type === "io.lablet.lablet_session.resources_observed.v1") session.observations += 1;
    }
    this.kept.checkpoint = event.position;
    writeFileSync(`${this.path}.new`, JSON.stringify(this.kept), { flush: true });
    renameSync(`${this.path}.new`, this.path);
  }
}

/// The log over HTTP: what the bus no longer has, and data too large for it.
class Gateway {
  constructor(
    private readonly address: string,
    private readonly key: string,
  ) {}

  private async get(url: string): Promise<Response> {
    const answer = await fetch(url, { headers: { "x-api-key": this.key }, signal: AbortSignal.timeout(30_000) });
    if (!answer.ok) throw new Error(`${url}: ${answer.status} ${await answer.text()}`);
    return answer;
  }

  /// The events after one position and before another, in the order of the log.
  async *between(after: string | undefined, before: string): AsyncGenerator<Notice> {
    let url: string | undefined = `${this.address}/api/events?before=${before}` + (after ? `&after=${after}` : "");
    while (url) {
      const answer: Response = await this.get(url);
      for (const event of (await answer.json()) as object[]) yield new CloudEvent(event) as Notice;
      const next: string | undefined = /<([^>]+)>; *rel="next"/.exec(answer.headers.get("link") ?? "")?.[1];
      url = next && new URL(next, url).href;
    }
  }

  /// An event whose data would not fit says where the data is, and has none.
  async withData(event: Notice): Promise<Notice> {
    if (event.data !== undefined || !event.dataref) return event;
    const data = (await (await this.get(event.dataref)).json()) as Record<string, unknown>;
    return event.cloneWith({ data }) as Notice;
  }
}

class Follower {
  readonly did = { applied: 0, read_from_the_log: 0, repeated: 0 };

  constructor(
    readonly sessions: Sessions,
    private readonly gateway: Gateway,
  ) {}

  get events(): number {
    return this.did.applied + this.did.read_from_the_log;
  }

  /// Applies an event once, and before it whatever is missing.
  async take(event: Notice): Promise<void> {
    const checkpoint = this.sessions.checkpoint;
    if (checkpoint !== undefined && event.position <= checkpoint) {
      this.did.repeated += 1;
      return;
    }
    if (event.previousposition !== checkpoint) {
      for await (const missing of this.gateway.between(checkpoint, event.position)) {
        this.sessions.apply(await this.gateway.withData(missing));
        this.did.read_from_the_log += 1;
      }
    }
    this.sessions.apply(await this.gateway.withData(event));
    this.did.applied += 1;
  }
}

function read(message: JsMsg): Notice {
  const name = message.headers?.keys().find((key) => key.toLowerCase() === "content-type");
  const type = name && message.headers?.get(name);
  if (!type?.startsWith("application/cloudevents+json")) throw new Error(`no structured CloudEvent on ${message.subject}`);
  return new CloudEvent(message.json<object>()) as Notice;
}

async function run(follower: Follower, events: number | undefined): Promise<void> {
  // -1: come back however long the bus is away. What is fetched meanwhile fails, and is tried again.
  const connection = await connect({ ...credentials(), maxReconnectAttempts: -1 });
  // The durable consumer: made where it is missing, found where it is there. It survives this process.
  const subscribe = async (): Promise<Consumer> => {
    const manager = await jetstreamManager(connection);
    await manager.consumers.add(STREAM, {
      durable_name: DURABLE,
      filter_subject: SUBJECT,
      deliver_policy: DeliverPolicy.All,
      ack_policy: AckPolicy.Explicit,
      ack_wait: 30_000_000_000,
      max_ack_pending: 1000,
    });
    return jetstream(connection).consumers.get(STREAM, DURABLE);
  };
  let consumer = await subscribe();
  while (events === undefined || follower.events < events) {
    const messages: JsMsg[] = [];
    try {
      const wanted = events === undefined ? 100 : Math.min(100, events - follower.events);
      for await (const message of await consumer.fetch({ max_messages: wanted, expires: 5_000 })) messages.push(message);
      // Silence is what a stream that was lost looks like, too. This fails where the consumer is gone.
      if (messages.length === 0) await consumer.info();
    } catch (error) {
      console.error(`the bus does not answer, trying again: ${error}`);
      await sleep(1_000);
      consumer = await subscribe().catch(() => consumer);
    }
    // What fails here ends the process without acknowledging, and the next one begins at the checkpoint.
    for (const message of messages) {
      await follower.take(read(message));
      message.ack();
    }
  }
  await connection.drain();
}

const [file = "sessions.json", flag, count] = process.argv.slice(2);
const gateway = new Gateway(process.env.LABLET_URL ?? "", process.env.LABLET_API_KEY ?? "");
const follower = new Follower(new Sessions(file), gateway);
await run(follower, flag === "--events" ? Number(count) : undefined);
console.log(JSON.stringify({ ...follower.did, sessions: follower.sessions.all }));
