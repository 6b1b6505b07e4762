//! The pages that people open first, of an installation with a thousand definitions and ten workers, beside those of one with
//! ten definitions and two workers. Both have as many sessions, all of them evidence.

use anyhow::Context as _;
use harness::Crowd;

use crate::effort::Effort;
use crate::http_client::{address, request};
use crate::pages;
use crate::reads::{CONNECTIONS, WARMING_UP, load};
use crate::surroundings::{Role, Surroundings, settled};
use crate::table::{self, Comparison, Target, Unit};

const SESSIONS: usize = 4_000;
const DEFINITIONS: usize = 1_000;
/// Share of the narrow installation's rate that is left.
const TARGET: f64 = 0.8;
const PAGES: [&str; 6] = ["/", "/sessions", "/definitions", "/sizing", "/drift", "/search?text=crowd-00"];

/// Measures and prints.
pub(crate) async fn run(surroundings: &Surroundings, effort: Effort) -> anyhow::Result<()> {
    let sessions = effort.size(SESSIONS).max(200);
    let narrow = Crowd { sessions, definitions: 10, workers: 2, ended: true, giant: false };
    let wide = Crowd { definitions: effort.size(DEFINITIONS).max(100), workers: 10, ..narrow };
    let (narrow_gateway, narrow_url, narrow_cookie) = settled_gateway(surroundings, "narrow", &narrow).await?;
    let (wide_gateway, wide_url, wide_cookie) = settled_gateway(surroundings, "wide", &wide).await?;
    table::group(
        &format!("Pages at {CONNECTIONS} connections of {} definitions and {} workers", wide.definitions, wide.workers),
        &format!("the same of {} definitions and {} workers", narrow.definitions, narrow.workers),
    )?;
    let (narrow_server, wide_server) = (address(&narrow_url)?, address(&wide_url)?);
    for path in PAGES {
        let to_narrow = request("GET", path, &[("cookie", narrow_cookie.as_str())], b"");
        let to_wide = request("GET", path, &[("cookie", wide_cookie.as_str())], b"");
        load(narrow_server, &to_narrow, WARMING_UP).await?;
        load(wide_server, &to_wide, WARMING_UP).await?;
        let mut rate = Comparison::new(path, Unit::PerSecond, Target::RatioAtLeast(TARGET));
        for _ in 0..effort.rounds {
            let of_narrow = load(narrow_server, &to_narrow, effort.round).await?;
            let of_wide = load(wide_server, &to_wide, effort.round).await?;
            rate.add(of_wide.per_second, of_narrow.per_second);
        }
        table::print(&rate)?;
    }
    narrow_gateway.stop().await?;
    wide_gateway.stop().await
}

/// A gateway alone on a database with this crowd, its address, and the cookie of somebody who is signed in.
async fn settled_gateway(
    surroundings: &Surroundings,
    name: &str,
    crowd: &Crowd,
) -> anyhow::Result<(Role, String, String)> {
    let database = surroundings.database(name).await?;
    let lablet = surroundings.all_roles(&database).await?;
    crowd.settle(&lablet).await?;
    settled(&lablet).await?;
    let link = lablet.sign_in_link("Bench", "admin").await?;
    let (_, link) = link.split_once("?token=").context("the link holds no token")?;
    lablet.stop().await?;
    sqlx::raw_sql("VACUUM ANALYZE").execute(&database.pool).await?;
    let (gateway, url) = surroundings.gateway_alone(&database).await?;
    let cookie = pages::sign_in_at(&format!("{url}/sign-in/link"), link).await?;
    Ok((gateway, url, cookie))
}
