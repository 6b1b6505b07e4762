//! Whether the roles in the database have the rights that the processes need, and which of them the login has.

use projections::rights::{DatabaseRole, Found, look as look_at};

use super::check::Check;
use crate::roles::Store;

const NAME: &str = "rights";
/// Most statements that are shown.
const MOST_SHOWN: usize = 5;

pub(super) async fn look(store: &Store) -> anyhow::Result<Vec<Check>> {
    Ok(vec![judge(&look_at(store.log().pool()).await?)])
}

fn judge(found: &Found) -> Check {
    let Found { login, roles, missing } = found;
    if !missing.is_empty() {
        let more = missing.len().saturating_sub(MOST_SHOWN);
        let mut mend = missing.iter().take(MOST_SHOWN).cloned().collect::<Vec<_>>().join("; ");
        if more > 0 {
            mend.push_str(&format!("; and {more} more (docs/postgres-permissions.md)"));
        }
        let found = format!("{} of the processes' roles are missing", missing.len());
        return Check::error(NAME, found, format!("as the database's owner: {mend}"));
    }
    let names: Vec<&str> = roles.iter().map(|role| role.name()).collect();
    if !roles.iter().any(|role| matches!(role, DatabaseRole::App | DatabaseRole::Projector)) {
        return Check::error(
            NAME,
            format!("{login} is neither lablet_app nor lablet_projector"),
            format!("GRANT lablet_app TO {login}, or for lablet project: GRANT lablet_projector TO {login}"),
        );
    }
    Check::ok(NAME, format!("{login} has those of {}", names.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::super::check::Severity;
    use super::*;

    fn found(roles: &[DatabaseRole], missing: &[&str]) -> Found {
        let missing = missing.iter().map(|statement| (*statement).to_owned()).collect();
        Found { login: "ada".to_owned(), roles: roles.to_vec(), missing }
    }

    #[test]
    fn a_missing_right_is_named_with_the_statement_that_gives_it() {
        let check = judge(&found(&[DatabaseRole::App], &["GRANT SELECT ON events TO lablet_app"]));
        assert_eq!(check.severity, Severity::Error);
        assert_eq!(check.mend.unwrap(), "as the database's owner: GRANT SELECT ON events TO lablet_app");
        let many = judge(&found(&[DatabaseRole::App], &["GRANT"; 7])).mend.unwrap();
        assert!(many.ends_with("and 2 more (docs/postgres-permissions.md)"), "{many}");
    }

    #[test]
    fn a_login_of_no_process_is_told_which_roles_there_are() {
        let check = judge(&found(&[DatabaseRole::Analyst], &[]));
        assert!(check.mend.unwrap().contains("GRANT lablet_projector TO ada"));
        let check = judge(&found(&[DatabaseRole::App, DatabaseRole::Projector], &[]));
        assert_eq!(
            (check.severity, check.found.as_str()),
            (Severity::Ok, "ada has those of lablet_app, lablet_projector")
        );
    }
}
