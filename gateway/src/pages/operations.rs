//! `GET /operations`: how far everything is, and what got stuck.

pub(crate) mod dead_letters;
pub(crate) mod discarded;
mod health;
pub(crate) mod letter_groups;
pub(crate) mod sign_ins;

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use projections::freshness::Freshness;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use self::dead_letters::{LETTER_COLUMNS, SettledNotice, settled_notice};
use self::health::{CONSUMER_COLUMNS, ConsumerRow, WEBHOOK_COLUMNS, consumer_rows};
use super::contact::{self, CONTROLLER_COLUMNS};
use super::excerpt::Excerpt;
use super::parts::When;
use super::query::PageQuery;
use super::shell::{Section, Shell, page};
use super::short_position::ShortPosition;
use super::table::{Column, Format, cell, csv_of, csv_without, time};
use super::visit::Visit;
use crate::authentication::Role;
use crate::caller::{Caller, Viewing};
use crate::cells::CellWatch;
use crate::controllers::ControllerWatch;
use crate::controllers::heard::{Controller, Presence};
use crate::dead_letters::list::{Letter, LetterKind, Letters, waiting};
use crate::operations::{Operations, OperationsReader};
use crate::problem::{Problem, ProblemKind};

/// Dead letters that are fetched of each place, and shown of all places. Others follow once some are settled.
const LETTERS_OF_A_PLACE: u32 = 20;
const MOST_LETTERS: usize = 30;
/// Consumers that are shown, those that are behind before the others.
const MOST_CONSUMERS: usize = 40;
/// Dead letters of each place in a file.
const LETTERS_IN_A_FILE: u32 = 1_000;

/// What the page is asked for.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OperationsQuery {
    /// The letter that the visitor has just retried.
    retried: Option<String>,
    /// The letter that the visitor has just discarded.
    discarded: Option<String>,
    /// Dead letters of this kind alone.
    kind: Option<LetterKind>,
    /// One of the tables, to be downloaded.
    table: Option<Table>,
    format: Option<Format>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Table {
    Controllers,
    DeadLetters,
    ReadModels,
    Consumers,
    Webhooks,
}

#[derive(Template)]
#[template(path = "operations.html")]
struct OperationsPage {
    shell: Shell,
    /// Whether the visitor may see dead letters and decide about them.
    may_operate: bool,
    /// Whether the visitor may see who is signed in.
    may_govern: bool,
    /// Whether there are other cells, which this gateway knows.
    is_console: bool,
    csrf_token: String,
    idempotency_key: Uuid,
    told: Option<SettledNotice>,
    operations: Operations,
    kind: Option<LetterKind>,
    letters: Vec<Letter>,
    more_letters: bool,
    consumers: Vec<ConsumerRow>,
    more_consumers: usize,
    verify_report: Option<Excerpt>,
    presence: Presence,
    controllers: Vec<Controller>,
}

pub(crate) async fn show(
    State(operations): State<OperationsReader>,
    State(controllers): State<ControllerWatch>,
    State(cells): State<CellWatch>,
    _: Caller<Viewing>,
    visit: Visit,
    PageQuery(query): PageQuery<OperationsQuery>,
) -> Result<Response, Problem> {
    if query.format == Some(Format::Csv) {
        return as_csv(&operations, &controllers, &visit, &query).await;
    }
    let stores = &operations.dead_letters;
    let operations = operations.read().await?;
    let may_operate = visit.role >= Role::Operator;
    // Dead letters hold what senders sent: they are for those who may decide about them.
    let mut letters = match may_operate {
        true => waiting(stores, query.kind, LETTERS_OF_A_PLACE).await?,
        false => Letters { items: Vec::new(), more: false, unreadable: Vec::new() },
    };
    letters.more |= letters.items.len() > MOST_LETTERS;
    letters.items.truncate(MOST_LETTERS);
    let mut consumers = consumer_rows(&operations.consumers);
    consumers.sort_by_key(ConsumerRow::is_up_to_date);
    let more_consumers = consumers.len().saturating_sub(MOST_CONSUMERS);
    consumers.truncate(MOST_CONSUMERS);
    page(&OperationsPage {
        shell: Shell::new(&visit, Section::Operations)
            .twin("/api/operations")
            .live("/api/stream")
            .refreshed()
            .without(operations.unreadable.clone())
            .without(letters.unreadable),
        may_operate,
        may_govern: visit.role >= Role::Admin,
        is_console: cells.is_console(),
        csrf_token: visit.csrf_token.clone(),
        idempotency_key: visit.idempotency_key,
        told: match may_operate {
            true => settled_notice(stores, query.retried.as_deref(), query.discarded.as_deref()).await?,
            false => None,
        },
        consumers,
        more_consumers,
        verify_report: operations.last_verify.as_ref().map(|verification| Excerpt::from_json(&verification.report)),
        operations,
        kind: query.kind,
        letters: letters.items,
        more_letters: letters.more,
        presence: controllers.presence(),
        controllers: controllers.all(),
    })
}

async fn as_csv(
    operations: &OperationsReader,
    controllers: &ControllerWatch,
    visit: &Visit,
    query: &OperationsQuery,
) -> Result<Response, Problem> {
    match query.table.unwrap_or(Table::DeadLetters) {
        Table::Controllers => csv_of("controllers", &CONTROLLER_COLUMNS, &controllers.all()),
        Table::DeadLetters => {
            if visit.role < Role::Operator {
                return Err(Problem::new(ProblemKind::Forbidden, "Dead letters are for operators."));
            }
            let letters = waiting(&operations.dead_letters, query.kind, LETTERS_IN_A_FILE).await?;
            let name = if letters.more { "dead-letters-first" } else { "dead-letters" };
            csv_without(name, &LETTER_COLUMNS, &letters.items, &letters.unreadable)
        }
        Table::ReadModels => {
            let operations = operations.read().await?;
            csv_without("read-models", &READ_MODEL_COLUMNS, &operations.read_models, &operations.unreadable)
        }
        Table::Consumers => csv_of("consumers", &CONSUMER_COLUMNS, &consumer_rows(&operations.read().await?.consumers)),
        Table::Webhooks => csv_of("webhooks", &WEBHOOK_COLUMNS, &operations.read().await?.webhooks),
    }
}

const READ_MODEL_COLUMNS: [Column<Freshness>; 11] = [
    ("read_model", |model| model.read_model.name().to_owned()),
    ("revision", |model| model.revision.to_string()),
    ("position", |model| model.position.to_string()),
    ("head", |model| model.head.to_string()),
    ("events_behind", |model| model.events_behind.to_string()),
    ("updated_at", |model| time(&model.moved_at)),
    ("parked_aggregates", |model| model.parked_aggregates.to_string()),
    ("dead_letters", |model| model.dead_letters.to_string()),
    ("rebuilding", |model| model.rebuilding.map(|position| position.to_string()).unwrap_or_default()),
    ("kept_by", |model| cell(model.kept_by.as_ref())),
    ("kept_since", |model| cell(model.kept_since.as_ref().map(time).as_ref())),
];
