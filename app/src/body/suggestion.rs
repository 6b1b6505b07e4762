//! What a sender may have meant by a name that is not known.

use super::shape::{Form, Shape};

/// Greatest edit distance at which a name may be another one misspelt.
fn greatest_distance(length: usize) -> usize {
    (length / 4).clamp(1, 3)
}

/// Letters and digits only, in lower case: `observedPorts` and `observed_ports` are one name.
fn plain(name: &str) -> String {
    name.chars().filter(|character| character.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// The path of a member that `name` may mean: one of `here`, of an object one level below, or of the top.
pub(super) fn meant(name: &str, here: &Shape, top: &Shape) -> Option<String> {
    let wanted: String = plain(name).chars().take(100).collect();
    if wanted.is_empty() {
        return None;
    }
    let members = |shape: &'_ Shape| match &shape.form {
        Form::Object { members, .. } => members.names().cloned().collect::<Vec<_>>(),
        _ => Vec::new(),
    };
    let by_distance = members(here)
        .into_iter()
        .map(|known| (strsim::osa_distance(&wanted, &plain(&known)), known))
        .filter(|(distance, _)| *distance <= greatest_distance(wanted.chars().count()))
        .min();
    if let Some((_, known)) = by_distance {
        return Some(known);
    }
    let is_part = |known: &String| {
        let known = plain(known);
        wanted.len() >= 4 && known.len() >= 4 && (known.ends_with(&wanted) || wanted.ends_with(&known))
    };
    if let Some(known) = members(here).into_iter().find(is_part) {
        return Some(known);
    }
    if let Form::Object { members: inner, .. } = &here.form {
        for (outer, member) in inner.iter() {
            if let Some(known) = members(&member.shape).into_iter().find(|known| plain(known) == wanted) {
                return Some(format!("{outer}.{known}"));
            }
        }
    }
    let elsewhere = members(top).into_iter().find(|known| plain(known) == wanted)?;
    Some(format!("{elsewhere} at the top of the body"))
}
