//! What every review has: each field before and after, and the reason with which the change is confirmed.

use askama::Template;
use askama::filters::HtmlSafe;
use domain::Invalid;

use super::definition::change::Change;
use super::visit::{Permit, Visit};

/// Every field before and after.
#[derive(Debug, Template)]
#[template(path = "changes.html")]
pub(crate) struct ChangesTable {
    /// What a field is called here.
    pub(crate) field: &'static str,
    /// What is said of the side before, e.g. its revision; empty: nothing.
    pub(crate) before: String,
    /// The same of the side after.
    pub(crate) after: String,
    /// What is said beside the title; empty: nothing.
    pub(crate) remark: &'static str,
    /// The fields.
    pub(crate) changes: Vec<Change>,
}

impl HtmlSafe for ChangesTable {}

/// The form that asks for a reason, and makes the change.
#[derive(Debug, Template)]
#[template(path = "confirmation.html")]
pub(crate) struct Confirmation {
    action: String,
    form_page: String,
    hidden: Vec<(String, String)>,
    reason: String,
    reason_wrong: Option<Invalid>,
    labels: Labels,
    permit: Permit,
    ways_out: Vec<WayOut>,
    csrf_token: String,
    idempotency_key: String,
}

impl HtmlSafe for Confirmation {}

/// What the form calls things.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Labels {
    /// What the reason stays with.
    pub(crate) subject: &'static str,
    /// The button.
    pub(crate) confirm: &'static str,
}

/// Another way to go on.
#[derive(Debug)]
pub(crate) struct WayOut {
    /// Where it leads.
    pub(crate) address: String,
    /// What it is called.
    pub(crate) words: &'static str,
}

/// Where the form is, where it leads, and what it carries.
#[derive(Debug)]
pub(crate) struct FormFields {
    /// Where it is sent.
    pub(crate) action: String,
    /// The page that it is on.
    pub(crate) form_page: String,
    /// What it carries beside the reason.
    pub(crate) hidden: Vec<(String, String)>,
    /// The reason as it was typed.
    pub(crate) reason: String,
    /// What is wrong with it.
    pub(crate) reason_wrong: Option<Invalid>,
}

impl Confirmation {
    /// The form for a visitor.
    pub(crate) fn new(
        visit: &Visit,
        permit: Permit,
        fields: FormFields,
        labels: Labels,
        ways_out: Vec<WayOut>,
    ) -> Self {
        let FormFields { action, form_page, hidden, reason, reason_wrong } = fields;
        Self {
            action,
            form_page,
            hidden,
            reason,
            reason_wrong,
            labels,
            permit,
            ways_out,
            csrf_token: visit.csrf_token.clone(),
            idempotency_key: visit.idempotency_key.to_string(),
        }
    }
}
