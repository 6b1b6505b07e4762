//! `GET /advice`: how advice is given. What pages show of advice besides: how large definitions must be, why, what is
//! proposed, and whether advice held.

pub(crate) mod amounts;
pub(crate) mod policy;
pub(crate) mod policy_draft;

use askama::Template;
use axum::extract::State;
use axum::response::Response;

use self::policy::PolicyNow;
use crate::caller::{Caller, Viewing};
use crate::pages::parts::When;
use crate::pages::shell::{Section, Shell, page};
use crate::pages::visit::Visit;
use crate::problem::Problem;
use crate::queries::Queries;

#[derive(Template)]
#[template(path = "advice.html")]
struct AdvicePage {
    shell: Shell,
    policy: PolicyNow,
    members: Vec<(&'static str, String)>,
}

pub(crate) async fn show(
    State(queries): State<Queries>,
    _: Caller<Viewing>,
    visit: Visit,
) -> Result<Response, Problem> {
    let policy = PolicyNow::of_all(&queries).await?;
    page(&AdvicePage {
        shell: Shell::new(&visit, Section::Advice),
        members: policy_draft::members(&policy.applies()),
        policy,
    })
}
