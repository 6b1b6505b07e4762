//! `GET /advice/policy` and `/definitions/{id}/policy`: how advice is given and applied, as a form; its review; and the
//! change itself. Whoever may not change it may still look.

use app::commands::{CommandError, Commands};
use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse as _, Redirect, Response};
use chrono::{DateTime, Utc};
use domain::advice_policy::{AdvicePolicy, AdvicePolicyEvent, Applier, DEFAULT_POLICY, NewPolicy, Policy};
use domain::lablet_definition::{LabletDefinition, LabletDefinitionEvent};
use domain::text::Prose;
use domain::{DefinitionId, Invalid};
use http::StatusCode;
use projections::ReadError;
use uuid::Uuid;

use super::back_test::BackTestTable;
use super::back_test_page::compared;
use super::policy_draft::{self, PolicyDraft, PolicyField, applier, boot, changes, warnings};
use crate::authentication::Role;
use crate::caller::{Caller, Viewing};
use crate::pages::confirmation::{ChangesTable, Confirmation, FormFields, Labels, WayOut};
use crate::pages::form::PageForm;
use crate::pages::parts::When;
use crate::pages::query::{PageQuery, address};
use crate::pages::shell::{Section, Shell, page};
use crate::pages::visit::{Permit, Visit};
use crate::path::Id;
use crate::problem::Problem;
use crate::queries::Queries;

/// Who may apply what is proposed, as a form offers it.
const APPLIERS: [(&str, Applier); 3] =
    [("admin", Applier::Admin), ("operator", Applier::Operator), ("automatic", Applier::Automatic)];

/// Whether the boot counts, as a form offers it.
const BOOTS: [(&str, bool); 2] = [("false", false), ("true", true)];

/// Whose policy it is.
#[derive(Debug, Clone)]
pub(crate) enum PolicyOwner {
    /// Every definition that has none of its own.
    Default,
    /// One definition, with its name.
    Definition(DefinitionId, String),
}

impl PolicyOwner {
    fn path(&self) -> String {
        match self {
            Self::Default => "/advice/policy".to_owned(),
            Self::Definition(id, _) => format!("/definitions/{id}/policy"),
        }
    }

    fn back(&self) -> String {
        match self {
            Self::Default => "/advice".to_owned(),
            Self::Definition(id, _) => format!("/definitions/{id}"),
        }
    }

    fn title(&self) -> String {
        match self {
            Self::Default => "Default policy".to_owned(),
            Self::Definition(_, name) => format!("Policy of {name}"),
        }
    }

    /// What applies where it gives up its own.
    fn without_policy(&self) -> &'static str {
        match self {
            Self::Default => "afterwards as where nobody has set one",
            Self::Definition(..) => "afterwards the default",
        }
    }

    fn section(&self) -> Section {
        match self {
            Self::Default => Section::Advice,
            Self::Definition(..) => Section::Definitions,
        }
    }

    fn twin(&self) -> String {
        match self {
            Self::Default => "/api/advice-policy".to_owned(),
            Self::Definition(id, _) => format!("/api/lablet-definitions/{id}/advice-policy"),
        }
    }
}

/// Who set a policy, when and why.
#[derive(Debug, Clone)]
pub(crate) struct PolicyChange {
    pub(crate) by: String,
    pub(crate) at: DateTime<Utc>,
    pub(crate) reason: String,
    pub(crate) event_id: Uuid,
}

/// The policy that applies, and where it comes from.
#[derive(Debug, Clone)]
pub(crate) struct PolicyNow {
    /// Its own; `None`: it has none.
    pub(crate) own: Option<Policy>,
    /// The default.
    pub(crate) default: Policy,
    /// The version on which a change rests.
    pub(crate) version: i64,
    /// The last change of its own; `None`: it never had one.
    pub(crate) changed: Option<PolicyChange>,
}

impl PolicyNow {
    /// The one that applies.
    pub(crate) fn applies(&self) -> Policy {
        self.own.unwrap_or(self.default)
    }

    /// The default policy.
    ///
    /// # Errors
    /// 503 where the log does not answer.
    pub(crate) async fn of_all(queries: &Queries) -> Result<Self, Problem> {
        let log = queries.log();
        let loaded = log.load::<AdvicePolicy>(DEFAULT_POLICY).await.map_err(ReadError::Log)?;
        let types = ["advice_policy.set".to_owned()];
        let last = log.last_of_types("advice_policy", DEFAULT_POLICY, &types, 1).await.map_err(ReadError::Log)?;
        let changed = last.first().map(|event| {
            let AdvicePolicyEvent::Set { reason, set_by, set_at, .. } = event.decode().map_err(ReadError::Log)?;
            Ok::<_, Problem>(PolicyChange { by: set_by, at: set_at, reason, event_id: event.event_id })
        });
        let (set, version) = match loaded {
            None => (None, 0),
            Some((policy, version, _)) => (policy.set.as_ref().map(|set| set.policy), version),
        };
        Ok(Self { own: set, default: Policy::default(), version, changed: changed.transpose()? })
    }

    /// That of a definition.
    ///
    /// # Errors
    /// 404, and 503 where the log does not answer.
    pub(crate) async fn of_definition(queries: &Queries, id: &DefinitionId) -> Result<(String, Self), Problem> {
        let log = queries.log();
        let loaded = log.load::<LabletDefinition>(id.as_str()).await.map_err(ReadError::Log)?;
        let present = loaded.as_ref().and_then(|(definition, ..)| definition.present());
        let present = present.ok_or_else(|| Problem::not_found("definition", id.as_str()))?;
        let default = Self::of_all(queries).await?.applies();
        let types = ["lablet_definition.policy_set".to_owned()];
        let last = log.last_of_types("lablet_definition", id.as_str(), &types, 1).await.map_err(ReadError::Log)?;
        let mut changed = None;
        if let Some(event) = last.first()
            && let LabletDefinitionEvent::PolicySet { reason, set_by, set_at, .. } =
                event.decode().map_err(ReadError::Log)?
        {
            changed = Some(PolicyChange { by: set_by, at: set_at, reason, event_id: event.event_id });
        }
        let own = present.policy.as_ref().map(|set| set.policy);
        Ok((present.name.clone(), Self { own, default, version: present.content_sequence, changed }))
    }
}

#[derive(Template)]
#[template(path = "advice/policy.html")]
struct PolicyPage {
    shell: Shell,
    owner: PolicyOwner,
    now: PolicyNow,
    members: Vec<(&'static str, String)>,
    fields: Vec<PolicyField>,
    wrong: u64,
    permit: Permit,
    /// It was set just now.
    was_set: bool,
    appliers: Vec<PolicyChoice>,
    boots: Vec<PolicyChoice>,
}

/// A value of a member, to choose from.
struct PolicyChoice {
    value: &'static str,
    words: &'static str,
    chosen: bool,
}

#[derive(Template)]
#[template(path = "advice/policy_review.html")]
struct ReviewPage {
    shell: Shell,
    owner: PolicyOwner,
    changes: ChangesTable,
    would_change: bool,
    /// It was changed since the form was filled in.
    is_stale: bool,
    warnings: Vec<String>,
    /// What both would have meant for the sessions of the past; `None`: it is the policy of many.
    back_test: Option<BackTestTable>,
    confirmation: Confirmation,
    edit: String,
}

/// What the page is asked for.
#[derive(Debug, Default, serde::Deserialize)]
pub(crate) struct PolicyQuery {
    /// It was set just now.
    set: Option<bool>,
    #[serde(flatten)]
    draft: PolicyDraft,
}

pub(crate) async fn show_default(
    State(queries): State<Queries>,
    _: Caller<Viewing>,
    visit: Visit,
    PageQuery(query): PageQuery<PolicyQuery>,
) -> Result<Response, Problem> {
    let now = PolicyNow::of_all(&queries).await?;
    form(&visit, PolicyOwner::Default, now, query.draft, &[], query.set == Some(true))
}

pub(crate) async fn show_own(
    State(queries): State<Queries>,
    _: Caller<Viewing>,
    visit: Visit,
    Id(id): Id<DefinitionId>,
    PageQuery(query): PageQuery<PolicyQuery>,
) -> Result<Response, Problem> {
    let (name, now) = PolicyNow::of_definition(&queries, &id).await?;
    form(&visit, PolicyOwner::Definition(id, name), now, query.draft, &[], query.set == Some(true))
}

pub(crate) async fn review_default(
    State(queries): State<Queries>,
    _: Caller<Viewing>,
    visit: Visit,
    PageQuery(draft): PageQuery<PolicyDraft>,
) -> Result<Response, Problem> {
    let now = PolicyNow::of_all(&queries).await?;
    review(&queries, &visit, PolicyOwner::Default, now, draft, None).await
}

pub(crate) async fn review_own(
    State(queries): State<Queries>,
    _: Caller<Viewing>,
    visit: Visit,
    Id(id): Id<DefinitionId>,
    PageQuery(draft): PageQuery<PolicyDraft>,
) -> Result<Response, Problem> {
    let (name, now) = PolicyNow::of_definition(&queries, &id).await?;
    review(&queries, &visit, PolicyOwner::Definition(id, name), now, draft, None).await
}

pub(crate) async fn set_default(
    State(queries): State<Queries>,
    State(commands): State<Commands>,
    _: Caller<Viewing>,
    visit: Visit,
    sent: PageForm<PolicyDraft>,
) -> Result<Response, Problem> {
    let now = PolicyNow::of_all(&queries).await?;
    let PageForm { fields: draft, origin } = sent;
    let (new, version) = match checked(&visit, &draft) {
        Checked::New(new, version) => (new, version),
        Checked::NoReason(invalid) => {
            return review(&queries, &visit, PolicyOwner::Default, now, draft, Some(invalid)).await;
        }
        Checked::Wrong(wrong) => return form(&visit, PolicyOwner::Default, now, draft, &wrong, false),
        Checked::Refused(problem) => return Err(problem),
    };
    match commands.set_default_policy(new, Some(version), &origin).await {
        Ok(done) => Ok(Redirect::to(&format!("/advice/policy?position={}&set=true", done.position)).into_response()),
        Err(CommandError::Stale { .. }) => stale(&queries, &visit, PolicyOwner::Default, draft).await,
        Err(error) => Err(error.into()),
    }
}

pub(crate) async fn set_own(
    State(queries): State<Queries>,
    State(commands): State<Commands>,
    _: Caller<Viewing>,
    visit: Visit,
    Id(id): Id<DefinitionId>,
    sent: PageForm<PolicyDraft>,
) -> Result<Response, Problem> {
    let (name, now) = PolicyNow::of_definition(&queries, &id).await?;
    let owner = PolicyOwner::Definition(id.clone(), name);
    let PageForm { fields: draft, origin } = sent;
    let (new, version) = match checked(&visit, &draft) {
        Checked::New(new, version) => (new, version),
        Checked::NoReason(invalid) => return review(&queries, &visit, owner, now, draft, Some(invalid)).await,
        Checked::Wrong(wrong) => return form(&visit, owner, now, draft, &wrong, false),
        Checked::Refused(problem) => return Err(problem),
    };
    match commands.set_definition_policy(&id, new, Some(version), &origin).await {
        Ok(done) => {
            Ok(Redirect::to(&format!("/definitions/{id}/policy?position={}&set=true", done.position)).into_response())
        }
        Err(CommandError::Stale { .. }) => stale(&queries, &visit, owner, draft).await,
        Err(error) => Err(error.into()),
    }
}

/// What was sent, once it is understood.
enum Checked {
    New(NewPolicy, i64),
    NoReason(Invalid),
    Wrong(Vec<Invalid>),
    Refused(Problem),
}

fn checked(visit: &Visit, draft: &PolicyDraft) -> Checked {
    if let Some(refusal) = visit.may(Role::Admin).refusal {
        return Checked::Refused(Problem::new(crate::problem::ProblemKind::Forbidden, refusal));
    }
    let policy = match draft.parse() {
        Ok(policy) => policy,
        Err(wrong) => return Checked::Wrong(wrong),
    };
    let Some(version) = draft.version else {
        let invalid = Invalid::new("version", "is absent", "the form as the page made it");
        return Checked::Refused(invalid.into());
    };
    match Prose::parse(draft.reason()) {
        Ok(reason) => Checked::New(NewPolicy { policy, reason }, version),
        Err(invalid) => Checked::NoReason(invalid),
    }
}

/// The form, with what was typed, and what is wrong with it.
fn form(
    visit: &Visit,
    owner: PolicyOwner,
    now: PolicyNow,
    draft: PolicyDraft,
    wrong: &[Invalid],
    was_set: bool,
) -> Result<Response, Problem> {
    let draft = if draft.is_filled() { draft } else { PolicyDraft::from_policy(&now.applies(), now.version) };
    let mut response = page(&PolicyPage {
        shell: Shell::new(visit, owner.section()).twin(owner.twin()),
        members: policy_draft::members(&now.applies()),
        fields: draft.fields(wrong),
        wrong: wrong.len() as u64,
        permit: visit.may(Role::Admin),
        was_set,
        appliers: APPLIERS
            .into_iter()
            .map(|(value, choice)| PolicyChoice {
                value,
                words: applier(choice),
                chosen: draft.applier == Some(choice),
            })
            .collect(),
        boots: BOOTS
            .into_iter()
            .map(|(value, choice)| PolicyChoice {
                value,
                words: boot(choice),
                chosen: draft.include_boot.unwrap_or_default() == choice,
            })
            .collect(),
        owner,
        now,
    })?;
    if !wrong.is_empty() {
        *response.status_mut() = StatusCode::BAD_REQUEST;
    }
    Ok(response)
}

async fn review(
    queries: &Queries,
    visit: &Visit,
    owner: PolicyOwner,
    now: PolicyNow,
    draft: PolicyDraft,
    reason_wrong: Option<Invalid>,
) -> Result<Response, Problem> {
    if !draft.is_filled() {
        return Ok(Redirect::to(&owner.path()).into_response());
    }
    let policy = match draft.parse() {
        Ok(policy) => policy,
        Err(wrong) => return form(visit, owner, now, draft, &wrong, false),
    };
    let after = policy.unwrap_or(now.default);
    let back_test = match &owner {
        PolicyOwner::Definition(id, _) => {
            let both = [("before".to_owned(), now.applies()), ("after".to_owned(), after)];
            compared(queries, id, &both).await?
        }
        PolicyOwner::Default => None,
    };
    let is_stale = draft.version != Some(now.version);
    let failed = reason_wrong.is_some();
    let fields = FormFields {
        action: owner.path(),
        form_page: format!("{}/review", owner.path()),
        hidden: draft.hidden(),
        reason: draft.reason(),
        reason_wrong,
    };
    let labels = Labels { subject: "policy", confirm: "Set this policy" };
    let edit = address(&owner.path(), &PolicyDraft { reason: None, ..draft });
    let ways_out = vec![
        WayOut { address: edit.clone(), words: "Back to the form" },
        WayOut { address: owner.back(), words: "Cancel" },
    ];
    let mut response = page(&ReviewPage {
        shell: Shell::new(visit, owner.section()).twin(owner.twin()),
        changes: ChangesTable {
            field: "Member",
            before: String::new(),
            after: String::new(),
            remark: if policy.is_none() { owner.without_policy() } else { "" },
            changes: changes(&now.applies(), &after),
        },
        would_change: policy != now.own,
        is_stale,
        warnings: warnings(&after),
        back_test,
        confirmation: Confirmation::new(visit, visit.may(Role::Admin), fields, labels, ways_out),
        edit,
        owner,
    })?;
    if failed {
        *response.status_mut() = StatusCode::BAD_REQUEST;
    } else if is_stale {
        *response.status_mut() = StatusCode::PRECONDITION_FAILED;
    }
    Ok(response)
}

/// The review once more, of a policy that was changed meanwhile.
async fn stale(queries: &Queries, visit: &Visit, owner: PolicyOwner, draft: PolicyDraft) -> Result<Response, Problem> {
    let now = match &owner {
        PolicyOwner::Default => PolicyNow::of_all(queries).await?,
        PolicyOwner::Definition(id, _) => PolicyNow::of_definition(queries, id).await?.1,
    };
    review(queries, visit, owner, now, draft, None).await
}
