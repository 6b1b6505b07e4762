//! Proposes other sizes of definitions, takes proposals back, applies those that apply by themselves, and says whether what
//! was applied held.
//!
//! A reconciler: a moved read model, a timer and a changed policy are only wake-up signals. It reads what is known of each
//! definition, and takes the [steps](advice::proposer) that this needs. Any number may run: the definition decides, and a
//! step that two of them take carries the same key. Whoever is killed leaves nothing that another would not find.

mod definition;

use std::collections::BTreeMap;
use std::time::Duration;

use app::commands::{CommandError, Commands, ErrorClass};
use app::log::Position;
use bus::Backoff;
use domain::DefinitionId;
use metrics::{Unit, counter, describe_counter};
use projections::read_models::advice::score::DefinitionRecommendationRow;
use projections::{PageRequest, Projections, ReadError};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::definition::Looked;

/// As whom it proposes.
pub const ACTOR: &str = "lablet:proposer";

/// Definitions that are read at once, as a list.
const PAGE: u32 = 200;
/// Definitions that are looked at closely in one pass; the others come in the next one.
const MOST_LOOKS: usize = 500;
/// How long a look at one definition may take.
const LOOK_WITHIN: Duration = Duration::from_secs(30);
/// Shortest time between two passes.
const SHORTEST_INTERVAL: Duration = Duration::from_secs(1);
/// Shortest and longest wait after a pass that failed.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// Settings of the proposer.
#[derive(Debug, Clone)]
pub struct ProposerOptions {
    /// How long it sleeps at most without a wake-up signal.
    pub poll: Duration,
    /// How often each definition is looked at closely, whether anything happened to it or not: what is recommended of it
    /// rests on the sessions of others, too.
    pub sweep: Duration,
}

impl Default for ProposerOptions {
    fn default() -> Self {
        Self { poll: Duration::from_secs(30), sweep: Duration::from_secs(15 * 60) }
    }
}

/// The proposer.
pub struct Proposer {
    commands: Commands,
    projections: Projections,
    options: ProposerOptions,
    /// What the definitions were when they were last looked at.
    looked: BTreeMap<DefinitionId, Position>,
    /// The version of the default policy that they were looked at under.
    policy: Option<i64>,
    swept: Option<Instant>,
}

/// Why a look failed. The next pass looks again.
#[derive(Debug, thiserror::Error)]
enum LookError {
    #[error("the read models cannot be read")]
    Read(#[from] ReadError),
    #[error("the log cannot be read or written")]
    Command(#[source] CommandError),
    #[error("it took longer than {} s", LOOK_WITHIN.as_secs())]
    TimedOut,
}

impl LookError {
    /// Whether everything is concerned, and not one definition.
    fn is_about_all(&self) -> bool {
        match self {
            Self::Read(ReadError::Unreadable { .. } | ReadError::Invalid(_)) => false,
            Self::Read(_) | Self::TimedOut => true,
            Self::Command(error) => error.class() == ErrorClass::Dependency,
        }
    }
}

/// What a pass came to.
#[derive(Debug, Default, Clone, Copy)]
struct Pass {
    /// Definitions that were looked at closely.
    looks: usize,
    /// Whether some are left for the next pass.
    is_cut: bool,
}

impl Proposer {
    /// A proposer over these read models, which sends these commands.
    pub fn new(commands: Commands, projections: Projections, options: ProposerOptions) -> Self {
        describe_counter!("lablet_proposer_looks_total", Unit::Count, "Definitions that the proposer looked at");
        describe_counter!("lablet_proposer_steps_total", Unit::Count, "Steps of proposals that the proposer took");
        describe_counter!("lablet_proposer_refusals_total", Unit::Count, "Steps that the definition refused");
        describe_counter!("lablet_proposer_failures_total", Unit::Count, "Looks at a definition that failed");
        Self { commands, projections, options, looked: BTreeMap::new(), policy: None, swept: None }
    }

    /// Proposes until the token is cancelled.
    pub async fn run(mut self, token: CancellationToken) {
        if token.run_until_cancelled(self.propose()).await.is_none() {
            tracing::info!("proposer stopped");
        }
    }

    async fn propose(&mut self) {
        let mut moved = self.projections.moved();
        let mut backoff = Backoff::new(RETRY.0, RETRY.1);
        loop {
            // What moves during the pass leads to another one.
            moved.mark_unchanged();
            match self.pass().await {
                Ok(pass) => {
                    backoff.reset();
                    tokio::time::sleep(SHORTEST_INTERVAL).await;
                    if !pass.is_cut {
                        let woken = tokio::time::timeout(self.options.poll, moved.changed()).await;
                        if matches!(woken, Ok(Err(_))) {
                            // Nothing moves any more in this process; the timer remains.
                            tokio::time::sleep(self.options.poll).await;
                        }
                    }
                }
                Err(error) => {
                    let wait = backoff.next_wait();
                    let retry_in_ms = wait.as_millis();
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        retry_in_ms,
                        "proposer cannot look, retrying"
                    );
                    counter!("lablet_proposer_failures_total").increment(1);
                    tokio::time::sleep(wait).await;
                }
            }
        }
    }

    /// Looks once at every definition to which something happened.
    async fn pass(&mut self) -> Result<Pass, LookError> {
        let (_, policy) = self.commands.default_policy().await.map_err(LookError::Command)?;
        let is_due = self.swept.is_none_or(|swept| swept.elapsed() >= self.options.sweep);
        if is_due || self.policy != Some(policy) {
            self.looked.clear();
            (self.policy, self.swept) = (Some(policy), Some(Instant::now()));
        }
        let mut pass = Pass::default();
        let mut request = PageRequest::first(PAGE);
        loop {
            let page = self.projections.definition_recommendations(&request).await?;
            for row in &page.items {
                if self.looked.get(&row.definition_id) == Some(&row.position) {
                    continue;
                }
                if pass.looks == MOST_LOOKS {
                    pass.is_cut = true;
                    return Ok(pass);
                }
                pass.looks += 1;
                self.look(row).await?;
            }
            let Some(next) = page.next else { return Ok(pass) };
            request = PageRequest { limit: PAGE, cursor: Some(next) };
        }
    }

    /// Looks at one definition, and takes the steps that it needs.
    ///
    /// # Errors
    /// What concerns all definitions. What concerns this one is logged, and looked at again when something happens to it.
    async fn look(&mut self, row: &DefinitionRecommendationRow) -> Result<(), LookError> {
        counter!("lablet_proposer_looks_total").increment(1);
        let id = &row.definition_id;
        let look = definition::look(&self.commands, &self.projections, id);
        let looked = tokio::time::timeout(LOOK_WITHIN, look).await.unwrap_or(Err(LookError::TimedOut));
        match looked {
            Ok(Looked::Settled) => {
                self.looked.insert(id.clone(), row.position);
                Ok(())
            }
            Ok(Looked::Behind) => {
                tracing::debug!(definition.id = id.as_str(), "read model of advice is behind, looking again");
                Ok(())
            }
            Err(error) if error.is_about_all() => Err(error),
            Err(error) => {
                self.looked.insert(id.clone(), row.position);
                counter!("lablet_proposer_failures_total").increment(1);
                let error = &error as &dyn std::error::Error;
                tracing::error!(definition.id = id.as_str(), error, "proposer cannot look at a definition");
                Ok(())
            }
        }
    }
}
