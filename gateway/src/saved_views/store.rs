//! The table of saved views.

use std::time::Duration;

use app::database::StoredTime;
use bus::clock::{Clock, IdGenerator};
use domain::Invalid;
use sqlx::postgres::PgPool;
use uuid::Uuid;

use super::rules::{SavedView, ViewedList, may_share};
use crate::authentication::Role;
use crate::problem::{Problem, ProblemKind};

/// Most views of one person.
const MOST_OF_A_PERSON: i64 = 50;
/// Most views of a list.
const MOST_LISTED: i64 = 500;
/// How long the database may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// A view that is to be saved.
#[derive(Debug, Clone)]
pub(crate) struct NewView {
    /// Of which list.
    pub(crate) list: ViewedList,
    /// What it is called.
    pub(crate) name: String,
    /// What it asks for, [checked](super::rules::checked).
    pub(crate) query: String,
    /// Whether everybody sees it.
    pub(crate) shared: bool,
}

/// All saved views.
#[derive(Debug, Clone)]
pub(crate) struct SavedViews {
    pool: PgPool,
    clock: Clock,
    ids: IdGenerator,
}

/// What the database answers, in time.
async fn answer<T>(question: impl Future<Output = sqlx::Result<T>>) -> Result<T, Problem> {
    let too_late = || std::io::Error::new(std::io::ErrorKind::TimedOut, "the database did not answer in time");
    let answered = tokio::time::timeout(ANSWER_WITHIN, question).await;
    Ok(answered.unwrap_or_else(|_| Err(sqlx::Error::Io(too_late())))?)
}

impl SavedViews {
    /// The views in this database.
    pub(crate) fn new(pool: PgPool, clock: Clock, ids: IdGenerator) -> Self {
        Self { pool, clock, ids }
    }

    /// The views that a person sees, of one list or of all, by name; at most [`MOST_LISTED`].
    ///
    /// # Errors
    /// The database does not answer.
    pub(crate) async fn shown_to(&self, person: &str, list: Option<ViewedList>) -> Result<Vec<SavedView>, Problem> {
        let rows = sqlx::query!(
            r#"SELECT id, list, name, query, owner, shared, created_at AS "created_at: StoredTime" FROM saved_views
                WHERE (owner = $1 OR shared) AND ($2::text IS NULL OR list = $2)
                ORDER BY list, lower(name), id LIMIT $3"#,
            person,
            list.map(ViewedList::as_str),
            MOST_LISTED
        )
        .fetch_all(&self.pool);
        let rows = answer(rows).await?;
        // A list that a later version knows is none of this one's pages.
        let known = rows.into_iter().filter_map(|row| {
            let (id, name, query, owner, shared) = (row.id, row.name, row.query, row.owner, row.shared);
            Some(SavedView {
                list: row.list.parse().ok()?,
                created_at: row.created_at.into(),
                id,
                name,
                query,
                owner,
                shared,
            })
        });
        Ok(known.collect())
    }

    /// Saves a view for a person. One that they have of the same name is replaced.
    ///
    /// # Errors
    /// 403 where they may not share, 409 where they have as many as one may have; the database does not answer.
    pub(crate) async fn save(&self, person: &str, role: Role, view: NewView) -> Result<SavedView, Problem> {
        if view.shared && !may_share(role) {
            let detail = format!("A view is shared with everybody by an admin; you are signed in as {role}.");
            return Err(Problem::new(ProblemKind::Forbidden, detail));
        }
        let saved = sqlx::query!(
            r#"INSERT INTO saved_views (id, list, name, query, owner, shared, created_at)
               SELECT $1, $2, $3, $4, $5, $6, $7
                WHERE (SELECT count(*) FROM saved_views
                        WHERE owner = $5 AND (list <> $2 OR lower(name) <> lower($3))) < $8
               ON CONFLICT (owner, list, lower(name)) DO UPDATE
                  SET name = excluded.name, query = excluded.query, shared = excluded.shared
               RETURNING id, created_at AS "created_at: StoredTime""#,
            self.ids.uuid(),
            view.list.as_str(),
            view.name,
            view.query,
            person,
            view.shared,
            self.clock.now(),
            MOST_OF_A_PERSON
        )
        .fetch_optional(&self.pool);
        let Some(row) = answer(saved).await? else {
            let detail = format!("You have {MOST_OF_A_PERSON} saved views, which is the most; remove one first.");
            return Err(Problem::new(ProblemKind::Conflict, detail));
        };
        let NewView { list, name, query, shared } = view;
        let (id, created_at, owner) = (row.id, row.created_at.into(), person.to_owned());
        Ok(SavedView { id, list, name, query, owner, shared, created_at })
    }

    /// Removes a view.
    ///
    /// # Errors
    /// 404 where this person sees no such view, 403 where they may not remove it; the database does not answer.
    pub(crate) async fn remove(&self, id: Uuid, person: &str, role: Role) -> Result<SavedView, Problem> {
        let views = self.shown_to(person, None).await?;
        let view = views.into_iter().find(|view| view.id == id && view.is_shown_to(person));
        let view = view.ok_or_else(|| Problem::not_found("saved view", &id.to_string()))?;
        if !view.may_be_removed_by(person, role) {
            let detail = format!("A shared view is removed by an admin; you are signed in as {role}.");
            return Err(Problem::new(ProblemKind::Forbidden, detail));
        }
        answer(sqlx::query!("DELETE FROM saved_views WHERE id = $1", id).execute(&self.pool)).await?;
        Ok(view)
    }
}

/// A name that a view may have.
///
/// # Errors
/// [`Invalid`] where it is empty, too long, or no line.
pub(crate) fn checked_name(name: &str) -> Result<String, Invalid> {
    let rule = domain::text::Rule::line(1, 60);
    let name = name.trim();
    rule.check(name).map_err(|invalid| invalid.within("name"))?;
    Ok(name.to_owned())
}
