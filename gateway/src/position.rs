//! Reading your own write: a read may name a position, and waits until the read models are there.

use aide::OperationInput;
use aide::generate::GenContext;
use aide::openapi::{Operation, Parameter, QueryStyle};
use aide::operation::add_parameters;
use app::log::Position;
use axum::extract::FromRequestParts;
use domain::Invalid;
use http::request::Parts;
use projections::ReadModel;
use tokio::time::Instant;

use crate::problem::Problem;
use crate::queries::Queries;
use crate::version::header_parameter;

/// Header that names a position, on reads and on the answers to writes.
pub(crate) const LABLET_POSITION: &str = "lablet-position";

/// The query parameter with the same meaning.
pub(crate) const POSITION: &str = "position";

/// The position that a read has to show, where the caller names one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Since(Option<(Position, &'static str)>);

impl Since {
    /// Waits, bounded, until these read models show it.
    ///
    /// # Errors
    /// 400 when the log has not come to it, 503 when the read models do not in time.
    pub(crate) async fn reached(self, queries: &Queries, models: &[ReadModel]) -> Result<Reached, Problem> {
        let Some((position, field)) = self.0 else { return Ok(Reached(None)) };
        if !queries.have_reached(models, position).await? {
            let position = queries.issued(field, position).await?;
            queries.wait_for(models, position).await?;
        }
        Ok(Reached(Some(Instant::now())))
    }
}

/// When the read models were found to be at the named position. A cached answer that was begun earlier may be older.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reached(pub(crate) Option<Instant>);

/// Reads a position.
///
/// # Errors
/// [`Invalid`] naming `field`.
pub(crate) fn parse(field: &str, text: &str) -> Result<Position, Invalid> {
    text.parse().map_err(|_| {
        let shown: String = text.chars().take(80).collect();
        Invalid::new(field, format!("is {shown:?}"), "a position as the answer to a write gives it")
    })
}

impl<S: Send + Sync> FromRequestParts<S> for Since {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let query = parts.uri.query().unwrap_or_default();
        let named = url::form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == POSITION);
        let named = named.map(|(_, text)| parse(POSITION, &text)).transpose()?.map(|position| (position, POSITION));
        let header = parts.headers.get(LABLET_POSITION).map(|value| value.to_str().unwrap_or_default());
        let header = header.map(|text| parse("Lablet-Position", text)).transpose()?;
        let header = header.map(|position| (position, "Lablet-Position"));
        // A page whose address names the write that led to it is asked for again with what happened since.
        Ok(Self(named.max(header)))
    }
}

impl OperationInput for Since {
    fn operation_input(context: &mut GenContext, operation: &mut Operation) {
        let about = "Wait, up to a few seconds, until the read models are at this position.";
        let schema = context.schema.subschema_for::<Position>();
        let header = header_parameter("Lablet-Position", false, about, schema.clone());
        let Parameter::Header { parameter_data: data, .. } = header_parameter(POSITION, false, about, schema) else {
            return;
        };
        let query = Parameter::Query {
            parameter_data: data,
            allow_reserved: false,
            style: QueryStyle::Form,
            allow_empty_value: None,
        };
        add_parameters(context, operation, [query, header]);
    }
}
