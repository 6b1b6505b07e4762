//! Which advice is asked for: for which promise, and as of when.

use app::log::Position;
use domain::DefinitionId;
use domain::advice_policy::Promise;
use domain::lablet_definition::LabletDefinition;
use projections::{ReadError, ReadModel};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::position;
use crate::problem::Problem;
use crate::queries::Queries;

/// Which advice.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AdviceQuery {
    /// The share of future sessions to cover, above 0 and below 1; that of the policy unless stated.
    promise: Option<Promise>,
    /// A position of the log: what was advised then. What is advised now, unless stated.
    #[schemars(with = "Option<Position>")]
    as_of: Option<String>,
}

impl AdviceQuery {
    /// The answer of `ask`, once the read model is at the position that is asked about.
    ///
    /// # Errors
    /// 400 when the position is none or the log has not come to it, 404 when there was no such definition, 503 when the read
    /// model does not come to it in time.
    pub(crate) async fn answer<T, F>(
        self,
        queries: &Queries,
        id: &DefinitionId,
        ask: impl Fn(Option<Promise>, Option<Position>) -> F,
    ) -> Result<T, Problem>
    where
        F: Future<Output = Result<Option<T>, ReadError>>,
    {
        let Self { promise, as_of } = self;
        let Some(text) = as_of else {
            let ask = || ask(promise, None);
            return queries.row::<LabletDefinition, _, _>(ReadModel::Advice, ("definition", id.as_str()), ask).await;
        };
        let as_of = queries.issued("as_of", position::parse("as_of", &text)?).await?;
        queries.wait_for(&[ReadModel::Advice], as_of).await?;
        let answer = ask(promise, Some(as_of)).await?;
        answer.ok_or_else(|| Problem::not_found("definition", &format!("{id} at {as_of}")))
    }
}
