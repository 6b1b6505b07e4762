//! One pass over a body, guided by its shape, that finds everything that is wrong with it and builds no tree.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use domain::Invalid;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_json::error::Category;

use super::DEEPEST;
use super::complaints::InvalidBody;
use super::leaves::Leaf;
use super::shape::{Form, Others, Shape};
use super::suggestion;
use super::unknown::UnknownMembers;

/// Longest part of a member's name that a path shows.
const LONGEST_NAME: usize = 80;
/// Unknown members of one object up to which duplicates are found without a set.
const FEW: usize = 16;

/// What the pass found. Names are borrowed from the body: a known one costs no allocation.
#[derive(Default)]
pub(super) struct Walk<'de> {
    path: Vec<Step<'de>>,
    /// Unknown names in the objects on the path, those of the innermost object last.
    names: Vec<Cow<'de, str>>,
    wrong: Option<InvalidBody>,
    unknown: UnknownMembers,
    /// Whether a whole number is written with a fraction of zero.
    whole_floats: bool,
    /// Why the pass could not go on.
    ended: Option<Invalid>,
}

enum Step<'de> {
    Member(Cow<'de, str>),
    Entry(usize),
}

impl<'de> Walk<'de> {
    /// Goes over a body in its text.
    pub(super) fn text(&mut self, text: &'de str, shape: &Shape) {
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let walked = Node { walk: self, shape, top: shape }.deserialize(&mut deserializer);
        match walked.and_then(|()| deserializer.end()) {
            Ok(()) => {}
            Err(error) if self.ended.is_none() => {
                let said = error.to_string();
                let message = said.split(" at line ").next().unwrap_or_default();
                self.ended = Some(match error.classify() {
                    // JSON has no greatest number, but every program that reads it has one.
                    _ if message == "number out of range" => {
                        Invalid::new(self.shown_path(), "is out of the range of numbers", "a number that can be stored")
                    }
                    _ if message == "trailing characters" => {
                        let place = said.strip_prefix(message).unwrap_or_default();
                        Invalid::new("", format!("goes on after its end{place}"), "one JSON document")
                    }
                    Category::Syntax | Category::Eof | Category::Io | Category::Data => {
                        Invalid::new("", format!("is not JSON: {said}"), "a JSON document")
                    }
                });
            }
            Err(_) => {}
        }
    }

    /// Goes over a body that is a tree already.
    pub(super) fn tree(&mut self, tree: &'de Value, shape: &Shape) {
        let walked = Node { walk: self, shape, top: shape }.deserialize(tree);
        if let Err(error) = walked
            && self.ended.is_none()
        {
            self.ended = Some(Invalid::new(self.shown_path(), format!("cannot be read: {error}"), "a JSON value"));
        }
    }

    /// The unknown members.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub(super) fn finish(mut self) -> Result<UnknownMembers, InvalidBody> {
        if let Some(ended) = self.ended.take() {
            self.complain(ended);
        }
        match self.wrong {
            Some(wrong) => Err(wrong.beside(self.unknown.warnings())),
            None => Ok(self.unknown),
        }
    }

    /// Whether a whole number is written with a fraction of zero, such as 4.0.
    pub(super) fn holds_whole_floats(&self) -> bool {
        self.whole_floats
    }

    fn complain(&mut self, complaint: Invalid) {
        match &mut self.wrong {
            Some(wrong) => wrong.add(complaint),
            None => self.wrong = Some(complaint.into()),
        }
    }

    /// Something is wrong with what is being looked at.
    fn wrong(&mut self, problem: impl Into<String>, expected: impl Into<String>) {
        let complaint = Invalid::new(self.shown_path(), problem, expected);
        self.complain(complaint);
    }

    fn unknown(&mut self, here: &Shape, top: &Shape) {
        let place = self.rendered(false);
        if !self.unknown.is_new(&place) {
            return;
        }
        let name = match self.path.last() {
            Some(Step::Member(name)) => name.as_ref(),
            Some(Step::Entry(_)) | None => "",
        };
        let known = match &here.form {
            Form::Object { members, .. } => members.names().map(String::as_str).collect::<Vec<_>>().join(", "),
            _ => String::new(),
        };
        let (field, meant) = (self.shown_path(), suggestion::meant(name, here, top));
        self.unknown.describe(place, field, meant, known);
    }

    /// The path of what is being looked at, e.g. `observed_resources.nodes[3].label`; empty for the whole body.
    fn shown_path(&self) -> String {
        self.rendered(true)
    }

    fn rendered(&self, with_indexes: bool) -> String {
        let mut path = String::new();
        for step in &self.path {
            match step {
                Step::Member(name) => push_member(&mut path, name),
                Step::Entry(index) if with_indexes => path.push_str(&format!("[{index}]")),
                Step::Entry(_) => path.push_str("[]"),
            }
        }
        path
    }

    fn leaf(&mut self, leaf: Leaf<'_>, shape: &Shape) {
        let leaf = match (&shape.form, leaf) {
            (Form::Whole { .. }, Leaf::Number(number)) => whole(number).map_or(leaf, |number| {
                self.whole_floats = true;
                Leaf::Whole(number.into())
            }),
            _ => leaf,
        };
        let refused = |shape: &Shape| Err((format!("is {leaf}"), shape.expected()));
        let checked = match (&shape.form, leaf) {
            (Form::Anything, _) => Ok(()),
            (_, Leaf::Null) if shape.nullable => Ok(()),
            (Form::Leaf(check), leaf) => check(leaf).map_err(|said| (said.problem, said.expected)),
            (Form::Flag, Leaf::Flag(_)) => Ok(()),
            (Form::Whole { least, most }, Leaf::Whole(number)) if (least..=most).contains(&&number) => Ok(()),
            (Form::Number { least, most }, Leaf::Whole(number)) if (*least..=*most).contains(&(number as f64)) => {
                Ok(())
            }
            (Form::Number { least, most }, Leaf::Number(number)) if (*least..=*most).contains(&number) => Ok(()),
            (Form::Choice(names), Leaf::Text(text)) if names.iter().any(|name| name == text) => Ok(()),
            (Form::Ruled(rule), Leaf::Text(text)) => rule.check(text).map_err(|said| (said.problem, said.expected)),
            (Form::Text { shortest, longest }, Leaf::Text(text)) => {
                let length = text.chars().count();
                if length == 0 && *shortest > 0 {
                    Err(("is empty".to_owned(), shape.expected()))
                } else if length < *shortest || longest.is_some_and(|longest| length > longest) {
                    Err((format!("has {length} characters"), shape.expected()))
                } else {
                    Ok(())
                }
            }
            _ => refused(shape),
        };
        if let Err((problem, expected)) = checked {
            self.wrong(problem, expected);
        }
    }

    fn too_deep<E: serde::de::Error>(&mut self) -> E {
        let problem = format!("nests more than {DEEPEST} levels deep");
        self.ended = Some(Invalid::new("", problem, format!("at most {DEEPEST} levels of arrays and objects")));
        E::custom("too deep")
    }
}

/// The whole number that a number is, where every reader of JSON has it exactly.
pub(super) fn whole(number: f64) -> Option<i64> {
    const GREATEST: f64 = 9_007_199_254_740_992.0;
    (number.fract() == 0.0 && number.abs() < GREATEST).then_some(number as i64)
}

fn push_member(path: &mut String, name: &str) {
    if !path.is_empty() {
        path.push('.');
    }
    path.push_str(&shown(name));
}

/// A member's name as a path shows it: of bounded length, in quotes where it is none of the names that programs use.
fn shown(name: &str) -> Cow<'_, str> {
    let plain = |character: char| character.is_alphanumeric() || matches!(character, '_' | '-');
    if !name.is_empty() && name.len() <= LONGEST_NAME && name.chars().all(plain) {
        return Cow::Borrowed(name);
    }
    let short: String = name.chars().take(LONGEST_NAME).collect();
    Cow::Owned(format!("{short:?}"))
}

/// A value of the body, and the shape that it should have.
struct Node<'w, 's, 'de> {
    walk: &'w mut Walk<'de>,
    shape: &'s Shape,
    /// The shape of the whole body.
    top: &'s Shape,
}

impl<'de> DeserializeSeed<'de> for Node<'_, '_, 'de> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_, '_, 'de> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.walk.leaf(Leaf::Null, self.shape);
        Ok(())
    }

    fn visit_bool<E>(self, flag: bool) -> Result<(), E> {
        self.walk.leaf(Leaf::Flag(flag), self.shape);
        Ok(())
    }

    fn visit_i64<E>(self, number: i64) -> Result<(), E> {
        self.walk.leaf(Leaf::Whole(number.into()), self.shape);
        Ok(())
    }

    fn visit_u64<E>(self, number: u64) -> Result<(), E> {
        self.walk.leaf(Leaf::Whole(number.into()), self.shape);
        Ok(())
    }

    fn visit_f64<E>(self, number: f64) -> Result<(), E> {
        self.walk.leaf(Leaf::Number(number), self.shape);
        Ok(())
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        self.walk.leaf(Leaf::Text(text), self.shape);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        let Self { walk, shape, top } = self;
        if walk.path.len() >= DEEPEST {
            return Err(walk.too_deep());
        }
        let (items, most) = match &shape.form {
            Form::List { items, most } => (items.as_ref(), *most),
            Form::Anything => (&Shape::ANYTHING, None),
            _ => {
                walk.wrong("is a list", shape.expected());
                (&Shape::ANYTHING, None)
            }
        };
        let mut count = 0;
        loop {
            walk.path.push(Step::Entry(count));
            // Entries beyond the bound are only counted.
            let shape = if most.is_some_and(|most| count >= most) { &Shape::ANYTHING } else { items };
            if entries.next_element_seed(Node { walk: &mut *walk, shape, top })?.is_none() {
                break;
            }
            walk.path.pop();
            count += 1;
        }
        walk.path.pop();
        if most.is_some_and(|most| count > most) {
            walk.wrong(format!("has {count} entries"), shape.expected());
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        let Self { walk, shape, top } = self;
        if walk.path.len() >= DEEPEST {
            return Err(walk.too_deep());
        }
        let nothing = Form::Anything;
        let form = match &shape.form {
            form @ (Form::Object { .. } | Form::Anything) => form,
            _ => {
                walk.wrong("is an object", shape.expected());
                &nothing
            }
        };
        let mut given = Given::new(walk.names.len());
        while let Some(name) = entries.next_key_seed(Name)? {
            walk.path.push(Step::Member(name.clone()));
            let known = match form {
                Form::Object { members, .. } => members.find(&name),
                _ => None,
            };
            if !given.add(known.map(|(place, _)| place), name, &mut walk.names) {
                walk.wrong("is given twice", "each name once");
            }
            let value = match (known, form) {
                (Some((_, member)), _) => &member.shape,
                (None, Form::Object { others: Some(others), .. }) => {
                    walk.name_of_data(others);
                    &others.values
                }
                (None, Form::Object { others: None, .. }) => {
                    walk.unknown(shape, top);
                    &Shape::ANYTHING
                }
                (None, _) => &Shape::ANYTHING,
            };
            entries.next_value_seed(Node { walk: &mut *walk, shape: value, top })?;
            walk.path.pop();
        }
        let Given { places, begun, count, .. } = given;
        walk.names.truncate(begun);
        if let Form::Object { members, others } = form {
            for (place, (name, member)) in members.iter().enumerate() {
                if member.required && !places.holds(place) {
                    walk.complain_about(name, "is missing", member.shape.expected());
                }
            }
            if let Some(most) = others.as_ref().and_then(|others| others.most)
                && count > most
            {
                walk.wrong(format!("has {count} entries"), format!("at most {most} entries"));
            }
        }
        Ok(())
    }
}

impl Walk<'_> {
    /// Something is wrong with a member of what is being looked at.
    fn complain_about(&mut self, member: &str, problem: &str, expected: String) {
        let mut field = self.shown_path();
        push_member(&mut field, member);
        self.complain(Invalid::new(field, problem, expected));
    }

    /// Checks the name of the member that is being looked at, which is data.
    fn name_of_data(&mut self, others: &Others) {
        let (Some(Step::Member(name)), Some(check)) = (self.path.last(), others.names) else { return };
        if let Err(said) = check(Leaf::Text(name)) {
            self.wrong(format!("has a name that {}", said.problem), said.expected);
        }
    }
}

/// The members that were given in one object.
struct Given<'de> {
    /// Those that its shape knows.
    places: Places,
    /// Where this object's unknown names begin among those of all objects on the path.
    begun: usize,
    /// The same names, once there are many.
    many: HashSet<Cow<'de, str>>,
    count: usize,
}

impl<'de> Given<'de> {
    fn new(begun: usize) -> Self {
        Self { places: Places::default(), begun, many: HashSet::new(), count: 0 }
    }

    /// Adds a member, and tells whether it is the first of its name.
    fn add(&mut self, known: Option<usize>, name: Cow<'de, str>, names: &mut Vec<Cow<'de, str>>) -> bool {
        let is_first = match known {
            Some(place) => self.places.add(place),
            None => {
                let of_this = names.get(self.begun..).unwrap_or_default();
                let is_first = !of_this.contains(&name) && !self.many.contains(&name);
                if of_this.len() < FEW {
                    names.push(name);
                } else {
                    self.many.insert(name);
                }
                is_first
            }
        };
        self.count += usize::from(is_first);
        is_first
    }
}

/// A set of places among the members that an object may have.
#[derive(Default)]
struct Places {
    first: u128,
    /// Places beyond the bits; no object of ours has so many members.
    later: HashSet<usize>,
}

impl Places {
    fn add(&mut self, place: usize) -> bool {
        let is_new = !self.holds(place);
        match bit(place) {
            Some(bit) => self.first |= bit,
            None => {
                self.later.insert(place);
            }
        }
        is_new
    }

    fn holds(&self, place: usize) -> bool {
        bit(place).map_or_else(|| self.later.contains(&place), |bit| self.first & bit != 0)
    }
}

fn bit(place: usize) -> Option<u128> {
    1_u128.checked_shl(u32::try_from(place).ok()?)
}

/// A member's name, borrowed from the body where it holds no escapes.
struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Cow<'de, str>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Cow<'de, str>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Name {
    type Value = Cow<'de, str>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a member's name")
    }

    fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Borrowed(name))
    }

    fn visit_str<E>(self, name: &str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Owned(name.to_owned()))
    }
}
