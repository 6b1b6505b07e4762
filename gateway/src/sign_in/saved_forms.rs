//! What somebody had filled in when they had to sign in again, or what is too long for an address: saved for a day, for
//! its author alone.
//!
//! Whoever sends a form without being signed in proves by its token that it was served to somebody who was
//! ([`super::served`]), so a stranger can make nobody keep anything. Each person has room for a few forms, and all
//! together for some; the oldest make room.

use bus::clock::Clock;
use chrono::TimeDelta;
use sqlx::postgres::PgPool;
use url::form_urlencoded;

use super::form::{CSRF_TOKEN, FormFields};
use super::keys::Keys;
use super::local_path::LocalPath;
use super::served::{FormToken, Person};
use super::{SignInError, answer, secret};
use crate::authentication::SecretHash;

/// Parameter of a page's address that names the form with which it is filled in.
pub(crate) const SAVED_FORM: &str = "saved_form";
/// How long a form is saved.
const SAVED_FOR: TimeDelta = TimeDelta::hours(24);
/// Most forms of one person.
const MOST: i64 = 20;
/// Most bytes of one person's forms.
const MOST_BYTES: i64 = 1 << 20;
/// Most bytes of all forms.
const MOST_BYTES_OF_ALL: i64 = 64 << 20;

/// A saved form, in the extensions of the request for the page on which it is filled in again.
#[derive(Debug, Clone)]
pub(crate) struct SavedForm {
    /// Names it in an address.
    pub(crate) id: String,
    /// Names and values.
    pub(crate) fields: Vec<(String, String)>,
}

/// All saved forms.
#[derive(Debug, Clone)]
pub(crate) struct SavedForms {
    pool: PgPool,
    clock: Clock,
    keys: Keys,
}

impl SavedForms {
    /// The forms in this database.
    pub(crate) fn new(pool: PgPool, clock: Clock, keys: Keys) -> Self {
        Self { pool, clock, keys }
    }

    /// The page of a form that was not taken, with what was filled in where that can be kept for its author: the one to
    /// whom the form was served, else the one who is signed in.
    pub(crate) async fn page_of(
        &self,
        form: &FormFields,
        signed_in: Option<&str>,
    ) -> Result<Option<LocalPath>, SignInError> {
        let Some(page) = form.page() else { return Ok(None) };
        let served_to = FormToken::served_to(form.get(CSRF_TOKEN).unwrap_or_default(), &self.keys).await?;
        let Some(author) = served_to.or_else(|| signed_in.map(Person::named)) else { return Ok(Some(page)) };
        match form.own().next() {
            Some(_) => Ok(Some(page.with(SAVED_FORM, &self.save_for(&author, form.own()).await?))),
            None => Ok(Some(page)),
        }
    }

    /// Saves fields for the person of this name, and gives what names them.
    pub(crate) async fn save<'a>(
        &self,
        name: &str,
        fields: impl Iterator<Item = (&'a str, &'a str)>,
    ) -> Result<String, SignInError> {
        self.save_for(&Person::named(name), fields).await
    }

    async fn save_for<'a>(
        &self,
        author: &Person,
        fields: impl Iterator<Item = (&'a str, &'a str)>,
    ) -> Result<String, SignInError> {
        let (now, id) = (self.clock.now(), secret::random()?);
        let fields = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let length = i64::try_from(fields.len()).unwrap_or(i64::MAX);
        let saved = sqlx::query!(
            "WITH ranked AS (
                 SELECT hash, person = $2 AS is_theirs,
                        row_number() OVER (PARTITION BY person ORDER BY created_at DESC, hash) AS place,
                        sum(octet_length(fields)) OVER (PARTITION BY person ORDER BY created_at DESC, hash) AS theirs,
                        sum(octet_length(fields)) OVER (ORDER BY created_at DESC, hash) AS of_all
                   FROM interrupted_forms
             ), forgotten AS (
                 DELETE FROM interrupted_forms USING ranked
                  WHERE interrupted_forms.hash = ranked.hash
                    AND (created_at <= $5 OR of_all > $8 OR is_theirs AND (place >= $6 OR theirs > $7))
             )
             INSERT INTO interrupted_forms (hash, person, fields, created_at) VALUES ($1, $2, $3, $4)",
            SecretHash::from_secret(&id).bytes().to_vec(),
            author.bytes().to_vec(),
            fields,
            now,
            now - SAVED_FOR,
            MOST,
            MOST_BYTES.saturating_sub(length),
            MOST_BYTES_OF_ALL.saturating_sub(length)
        )
        .execute(&self.pool);
        answer(saved).await?;
        Ok(id)
    }

    /// A form that was saved for the person of this name; `None` for everybody else, and when it is long ago.
    pub(crate) async fn find(&self, id: &str, name: &str) -> Result<Option<SavedForm>, SignInError> {
        let fields = sqlx::query_scalar!(
            "SELECT fields FROM interrupted_forms WHERE hash = $1 AND person = $2 AND created_at > $3",
            SecretHash::from_secret(id).bytes().to_vec(),
            Person::named(name).bytes().to_vec(),
            self.clock.now() - SAVED_FOR
        )
        .fetch_optional(&self.pool);
        let fields = answer(fields).await?;
        Ok(fields.map(|fields| SavedForm {
            id: id.to_owned(),
            fields: form_urlencoded::parse(fields.as_bytes()).into_owned().collect(),
        }))
    }
}
