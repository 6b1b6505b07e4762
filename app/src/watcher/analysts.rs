//! Rights and limits of analysts, compared with and restored to the rules in the database function `confine_analysts`.

use std::collections::BTreeMap;
use std::fmt;

use sqlx::PgExecutor;

/// A right that analysts should not have, or a limit that they lack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deviation {
    /// The role, function or database concerned.
    pub subject: String,
    /// The right or the missing limit.
    pub deviation: String,
    /// Why it could not be restored, and which right is needed for that; `None`: it was restored.
    pub problem: Option<String>,
}

impl fmt::Display for Deviation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.subject, self.deviation)?;
        self.problem.as_ref().map_or(Ok(()), |problem| write!(formatter, "; {problem}"))
    }
}

/// Compares the rights and limits of analysts with the rules; with `mend`, restores them as far as the owner of the log
/// may.
///
/// # Errors
/// sqlx's error.
pub async fn confine_analysts(database: impl PgExecutor<'_>, mend: bool) -> sqlx::Result<Vec<Deviation>> {
    sqlx::query_as!(
        Deviation,
        r#"SELECT subject AS "subject!", deviation AS "deviation!", problem FROM confine_analysts($1)"#,
        mend
    )
    .fetch_all(database)
    .await
}

/// Records the current password hash of an analysts' login, which the watcher restores after a change. Returns whether
/// that was possible: it needs a superuser.
///
/// # Errors
/// sqlx's error.
pub async fn keep_analyst_password(database: impl PgExecutor<'_>, login: &str) -> sqlx::Result<bool> {
    sqlx::query_scalar!(r#"SELECT keep_analyst_password($1) AS "recorded!""#, login).fetch_one(database).await
}

/// One line per problem; subjects with the same problem share it.
pub fn problem_lines(deviations: &[Deviation]) -> Vec<String> {
    let mut subjects: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
    for deviation in deviations {
        if let Some(problem) = &deviation.problem {
            subjects.entry((&deviation.deviation, problem)).or_default().push(&deviation.subject);
        }
    }
    let line = |((deviation, problem), subjects): (_, Vec<&str>)| match subjects.as_slice() {
        [first, others @ ..] if !others.is_empty() => {
            format!("{first} and {} more: {deviation}; {problem}", others.len())
        }
        subjects => format!("{}: {deviation}; {problem}", subjects.concat()),
    };
    subjects.into_iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_many_functions_have_in_common_is_one_line() {
        let deviation = |subject: &str, problem: Option<&str>| Deviation {
            subject: subject.to_owned(),
            deviation: "everybody may call it".to_owned(),
            problem: problem.map(str::to_owned),
        };
        let needs = Some("needs a superuser");
        let lines = problem_lines(&[
            deviation("function a()", needs),
            deviation("function b()", None),
            deviation("function c()", needs),
        ]);
        assert_eq!(lines, ["function a() and 1 more: everybody may call it; needs a superuser"]);
    }
}
