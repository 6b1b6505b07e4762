//! What handlers stand on: each takes the part that it uses.

use std::sync::Arc;

use app::commands::Commands;
use app::notice::PublicUrl;
use axum::extract::FromRef;
use bus::Bus;
use bus::clock::Clock;
use projections::overview::Overview;
use projections::read_models::advice::sizing_ranking::SizingRanking;

use crate::answer_cache::AnswerCache;
use crate::attention::AttentionWatch;
use crate::authentication::Authenticator;
use crate::cells::CellWatch;
use crate::controllers::ControllerWatch;
use crate::dead_letters::DeadLetterStores;
use crate::health::{Draining, MetricsPage};
use crate::heavy_reads::ConfiguredReplica;
use crate::live_samples::LiveSamples;
use crate::operations::OperationsReader;
use crate::pages::freshness::FreshnessWatch;
use crate::pages::overview::OverviewContent;
use crate::queries::Queries;
use crate::saved_views::store::SavedViews;
use crate::sign_in::{SignIn, Site};
use crate::stream::Streams;

/// The gateway's parts, cheap to clone.
#[derive(Clone)]
pub(crate) struct GatewayState(Arc<Parts>);

/// Its content.
pub(crate) struct Parts {
    pub(crate) queries: Queries,
    pub(crate) replica: ConfiguredReplica,
    pub(crate) commands: Commands,
    pub(crate) access: Access,
    pub(crate) caches: Caches,
    pub(crate) streams: Streams,
    pub(crate) live_samples: LiveSamples,
    pub(crate) controllers: ControllerWatch,
    pub(crate) attention: AttentionWatch,
    pub(crate) cells: CellWatch,
    pub(crate) operations: OperationsReader,
    pub(crate) metrics: MetricsPage,
    pub(crate) draining: Draining,
    pub(crate) clock: Clock,
}

/// Who may come in, and how.
pub(crate) struct Access {
    pub(crate) authenticator: Authenticator,
    pub(crate) sign_in: SignIn,
    /// What people prefer to look at.
    pub(crate) saved_views: SavedViews,
}

/// Answers that are the same for everybody.
pub(crate) struct Caches {
    /// The numbers of everything at once, for the API and for the start page.
    pub(crate) overview: AnswerCache<Overview>,
    /// Every size by what its gap costs, for its page, the API and the start page.
    pub(crate) sizing: AnswerCache<SizingRanking>,
    /// What the start page shows.
    pub(crate) overview_page: AnswerCache<OverviewContent>,
    /// How far the read models are, for every page.
    pub(crate) freshness: FreshnessWatch,
}

impl GatewayState {
    pub(crate) fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }
}

/// Says where in [`Parts`] a handler finds what it takes.
macro_rules! taken_from {
    ($($part:ty: $($path:ident).+;)+) => {$(
        impl FromRef<GatewayState> for $part {
            fn from_ref(state: &GatewayState) -> Self {
                state.0.$($path).+.clone()
            }
        }
    )+};
}

taken_from! {
    Queries: queries;
    ConfiguredReplica: replica;
    Commands: commands;
    Authenticator: access.authenticator;
    SignIn: access.sign_in;
    SavedViews: access.saved_views;
    Site: access.sign_in.site;
    AnswerCache<Overview>: caches.overview;
    AnswerCache<SizingRanking>: caches.sizing;
    AnswerCache<OverviewContent>: caches.overview_page;
    FreshnessWatch: caches.freshness;
    Streams: streams;
    LiveSamples: live_samples;
    ControllerWatch: controllers;
    PublicUrl: streams.public_url;
    AttentionWatch: attention;
    CellWatch: cells;
    OperationsReader: operations;
    DeadLetterStores: operations.dead_letters;
    Bus: operations.bus;
    MetricsPage: metrics;
    Draining: draining;
    Clock: clock;
}
