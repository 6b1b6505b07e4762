//! No two files of a crate use each other, a module and those below it apart: what needs both ways is one thing, or holds a
//! third.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::tidy::repository;

const CRATES: [&str; 10] =
    ["advice", "app", "bus", "cli", "controller", "domain", "gateway", "projections", "simulator", "webhooks"];

/// The modules of a crate with what they say, but for their tests.
fn modules(source: &Path, prefix: &str, modules: &mut BTreeMap<String, String>) {
    for entry in std::fs::read_dir(source).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        let module = if prefix.is_empty() { name.to_owned() } else { format!("{prefix}::{name}") };
        if path.is_dir() {
            self::modules(&path, &module, modules);
        } else if path.extension().is_some_and(|extension| extension == "rs")
            && !matches!(name, "lib" | "main" | "tests")
        {
            let text = std::fs::read_to_string(&path).unwrap();
            let text = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
            let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
            modules.insert(module, code.collect::<Vec<&str>>().join("\n"));
        }
    }
}

/// Every path of `a::{b, c::{d, e}}`.
fn expanded(tree: &str) -> Vec<String> {
    let Some((prefix, rest)) = tree.split_once('{') else { return vec![tree.trim().to_owned()] };
    let body = &rest[..rest.rfind('}').unwrap_or(rest.len())];
    let (mut depth, mut start, mut parts) = (0_i32, 0, Vec::new());
    for (at, character) in body.char_indices() {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&body[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&body[start..]);
    let parts = parts.into_iter().map(str::trim).filter(|part| !part.is_empty());
    parts.flat_map(expanded).map(|path| format!("{}{path}", prefix.trim())).collect()
}

/// Every path in a module that begins in its own crate.
fn paths(code: &str) -> Vec<String> {
    let is_of_a_name = |character: char| character.is_alphanumeric() || character == '_';
    let mut found = Vec::new();
    for root in ["crate::", "super::", "self::"] {
        for (at, _) in code.match_indices(root) {
            if code[..at].ends_with(|before| is_of_a_name(before) || before == ':') {
                continue;
            }
            let line = code[..at].rsplit('\n').next().unwrap_or_default().trim_start();
            let is_use = matches!(
                line.trim_start_matches("pub(crate) ").trim_start_matches("pub(super) ").trim_start_matches("pub "),
                "use "
            );
            let end = |is_end: fn(char) -> bool| code[at..].find(is_end).map_or(code.len(), |end| at + end);
            if is_use {
                found.extend(expanded(&code[at..end(|character| character == ';')]));
            } else {
                found.push(
                    code[at..end(|character| !(character.is_alphanumeric() || "_:".contains(character)))].to_owned(),
                );
            }
        }
    }
    found
}

/// The module that a path in another one leads to.
fn target(modules: &BTreeMap<String, String>, within: &str, path: &str) -> Option<String> {
    let mut base: Vec<&str> = within.split("::").collect();
    let mut parts = path.split("::").map(str::trim).peekable();
    match parts.next()? {
        "crate" => base.clear(),
        "super" => {
            base.pop();
        }
        _ => {}
    }
    while parts.next_if_eq(&"super").is_some() {
        base.pop();
    }
    base.extend(parts);
    (1..=base.len()).rev().map(|length| base[..length].join("::")).find(|module| modules.contains_key(module))
}

fn is_above(one: &str, other: &str) -> bool {
    other.strip_prefix(one).is_some_and(|rest| rest.starts_with("::"))
}

#[test]
fn no_two_files_of_a_crate_use_each_other() {
    let mut pairs = BTreeSet::new();
    for name in CRATES {
        let mut all = BTreeMap::new();
        modules(&repository().join(name).join("src"), "", &mut all);
        let used = |module: &str, code: &str| -> BTreeSet<String> {
            paths(code).iter().filter_map(|path| target(&all, module, path)).filter(|target| target != module).collect()
        };
        let uses: BTreeMap<&String, BTreeSet<String>> =
            all.iter().map(|(module, code)| (module, used(module, code))).collect();
        for (module, targets) in &uses {
            for target in targets.iter().filter(|target| *module < *target && !is_above(module, target)) {
                if uses[target].contains(*module) {
                    pairs.insert((name, module.to_string(), target.clone()));
                }
            }
        }
    }
    assert_eq!(pairs, BTreeSet::new(), "files that use each other");
}

#[test]
fn paths_are_found_in_trees_and_in_code() {
    let code =
        "use crate::a::{self, b::{C, d}, E};\npub(crate) use super::f::G;\nfn x() -> crate::h::I { other::crate_() }";
    let mut found = paths(code);
    found.sort();
    assert_eq!(
        found,
        ["crate::a::E", "crate::a::b::C", "crate::a::b::d", "crate::a::self", "crate::h::I", "super::f::G"]
    );
}
