//! What a body has to look like, made from the schema that is published.

use std::collections::BTreeMap;

use domain::text::Rule;
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value};

use super::leaves::{Check, Leaf, check_of, check_time};

/// What a value has to look like.
#[derive(Debug, Clone)]
pub(super) struct Shape {
    pub(super) nullable: bool,
    pub(super) form: Form,
}

/// The kinds of values that bodies hold.
#[derive(Debug, Clone)]
pub(super) enum Form {
    /// Anything; it is not checked.
    Anything,
    Object {
        members: Members,
        /// Members whose names are data.
        others: Option<Box<Others>>,
    },
    List {
        items: Box<Shape>,
        most: Option<usize>,
    },
    Text {
        shortest: usize,
        longest: Option<usize>,
    },
    /// A text that the domain has a rule for.
    Ruled(Rule),
    Choice(Vec<String>),
    Whole {
        least: i128,
        most: i128,
    },
    Number {
        least: f64,
        most: f64,
    },
    Flag,
    /// A type that checks its value itself.
    Leaf(Check),
}

/// The members that an object may have, in the order of their names.
#[derive(Debug, Clone, Default)]
pub(super) struct Members(Vec<(String, Member)>);

impl Members {
    /// The member of this name, with its place among all.
    pub(super) fn find(&self, name: &str) -> Option<(usize, &Member)> {
        let place = self.0.binary_search_by(|(known, _)| known.as_str().cmp(name)).ok()?;
        Some((place, &self.0.get(place)?.1))
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&String, &Member)> {
        self.0.iter().map(|(name, member)| (name, member))
    }

    /// Their names.
    pub(super) fn names(&self) -> impl Iterator<Item = &String> {
        self.iter().map(|(name, _)| name)
    }
}

impl From<BTreeMap<String, Member>> for Members {
    fn from(members: BTreeMap<String, Member>) -> Self {
        Self(members.into_iter().collect())
    }
}

/// A member that is known by name.
#[derive(Debug, Clone)]
pub(super) struct Member {
    pub(super) shape: Shape,
    pub(super) required: bool,
}

/// Members whose names are data.
#[derive(Debug, Clone)]
pub(super) struct Others {
    pub(super) names: Option<Check>,
    pub(super) values: Shape,
    pub(super) most: Option<usize>,
}

impl Shape {
    /// A value that is not checked.
    pub(super) const ANYTHING: Self = Self { nullable: true, form: Form::Anything };

    /// The shape of a type.
    pub(super) fn from_type<T: JsonSchema>() -> Self {
        let generator = SchemaSettings::draft2020_12().for_deserialize().into_generator();
        let schema = generator.into_root_schema_for::<T>().to_value();
        let definitions = schema.get("$defs").and_then(Value::as_object).cloned().unwrap_or_default();
        Maker { definitions: &definitions, open: Vec::new() }.make(&schema)
    }

    /// What would be right, in words.
    pub(super) fn expected(&self) -> String {
        let or_null = if self.nullable { ", or null" } else { "" };
        let words = match &self.form {
            Form::Anything => "a value".to_owned(),
            Form::Object { .. } => "an object".to_owned(),
            Form::List { most: None, .. } => "a list".to_owned(),
            Form::List { most: Some(most), .. } => format!("a list of at most {most} entries"),
            Form::Text { shortest: 0, longest: None } => "a text".to_owned(),
            Form::Text { shortest, longest: None } => format!("a text of at least {shortest} characters"),
            Form::Text { shortest: 0, longest: Some(longest) } => format!("a text of at most {longest} characters"),
            Form::Text { shortest, longest: Some(longest) } => format!("a text of {shortest} to {longest} characters"),
            Form::Ruled(rule) => rule.expected(),
            Form::Choice(names) => match names.as_slice() {
                [one] => format!("{one:?}"),
                several => format!("one of {}", several.join(", ")),
            },
            Form::Whole { least: 0, most } if *most >= i128::from(u32::MAX) => "a whole number, 0 or more".to_owned(),
            Form::Whole { least, most } => format!("a whole number from {least} to {most}"),
            Form::Number { least, most } if least.is_finite() && most.is_finite() => {
                format!("a number from {least} to {most}")
            }
            Form::Number { .. } => "a number".to_owned(),
            Form::Flag => "true or false".to_owned(),
            Form::Leaf(check) => check(Leaf::Null).err().map_or_else(|| "a value".to_owned(), |said| said.expected),
        };
        format!("{words}{or_null}")
    }
}

struct Maker<'a> {
    definitions: &'a Map<String, Value>,
    /// The definitions around the one at hand: a recursive one is not checked.
    open: Vec<String>,
}

impl Maker<'_> {
    fn make(&mut self, schema: &Value) -> Shape {
        let Value::Object(schema) = schema else { return Shape::ANYTHING };
        if let Some(name) = schema.get("$ref").and_then(Value::as_str).and_then(|name| name.strip_prefix("#/$defs/")) {
            return self.named(name);
        }
        if let Some([only]) = schema.get("allOf").and_then(Value::as_array).map(Vec::as_slice) {
            return self.make(only);
        }
        let types: Vec<&str> = match schema.get("type") {
            Some(Value::String(one)) => vec![one],
            Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        };
        let variants = ["anyOf", "oneOf"].iter().find_map(|name| schema.get(*name)?.as_array());
        if let Some(variants) = variants
            && !types.contains(&"object")
        {
            return self.one_of(variants);
        }
        let nullable = types.is_empty() || types.contains(&"null");
        let mut kinds = types.into_iter().filter(|kind| *kind != "null");
        let form = match (kinds.next(), kinds.next()) {
            (Some(kind), None) => self.form(kind, schema, variants.map(Vec::as_slice).unwrap_or_default()),
            // A value of several kinds is checked by its type alone.
            _ => choice(schema).unwrap_or(Form::Anything),
        };
        Shape { nullable, form }
    }

    fn named(&mut self, name: &str) -> Shape {
        if let Some(check) = check_of(name) {
            return Shape { nullable: false, form: Form::Leaf(check) };
        }
        let Some(schema) = self.definitions.get(name).filter(|_| !self.open.iter().any(|open| open == name)) else {
            return Shape::ANYTHING;
        };
        self.open.push(name.to_owned());
        let shape = self.make(schema);
        self.open.pop();
        shape
    }

    /// Null or something, one of several names, or one of several objects.
    fn one_of(&mut self, variants: &[Value]) -> Shape {
        let is_null = |variant: &&Value| variant.get("type").is_some_and(|kind| kind == "null");
        let nullable = variants.iter().any(|variant| is_null(&variant));
        let mut shapes: Vec<Shape> =
            variants.iter().filter(|variant| !is_null(variant)).map(|variant| self.make(variant)).collect();
        if shapes.len() == 1
            && let Some(only) = shapes.pop()
        {
            return Shape { nullable: nullable || only.nullable, form: only.form };
        }
        let names: Option<Vec<String>> = shapes
            .iter()
            .map(|shape| if let Form::Choice(names) = &shape.form { Some(names.clone()) } else { None })
            .collect::<Option<Vec<_>>>()
            .map(|names| names.concat());
        let form = match names {
            Some(names) if !names.is_empty() => Form::Choice(names),
            _ if !shapes.is_empty() && shapes.iter().all(|shape| matches!(shape.form, Form::Object { .. })) => {
                Form::Object { members: either(shapes).into(), others: None }
            }
            _ => Form::Anything,
        };
        Shape { nullable, form }
    }

    fn form(&mut self, kind: &str, schema: &Map<String, Value>, variants: &[Value]) -> Form {
        let count = |name: &str| schema.get(name).and_then(Value::as_u64).and_then(|count| usize::try_from(count).ok());
        match kind {
            "object" => self.object(schema, variants),
            "array" => Form::List {
                items: Box::new(schema.get("items").map_or(Shape::ANYTHING, |items| self.make(items))),
                most: count("maxItems"),
            },
            "string" => choice(schema).unwrap_or_else(|| match schema.get("format").and_then(Value::as_str) {
                Some("date-time") => Form::Leaf(check_time),
                _ => {
                    let (shortest, longest) = (count("minLength").unwrap_or(0), count("maxLength"));
                    let pattern = schema.get("pattern").and_then(Value::as_str);
                    let rules = longest.map(|longest| [Rule::line(shortest, longest), Rule::prose(shortest, longest)]);
                    let stated = rules.into_iter().flatten().find(|rule| pattern == Some(rule.pattern().as_str()));
                    stated.map_or(Form::Text { shortest, longest }, Form::Ruled)
                }
            }),
            "integer" => {
                let bound = |name: &str| schema.get(name).and_then(|bound| bound.as_i64().map(i128::from));
                let (least, most) = match schema.get("format").and_then(Value::as_str) {
                    Some("uint8") => (0, i128::from(u8::MAX)),
                    Some("uint16") => (0, i128::from(u16::MAX)),
                    Some("uint32") => (0, i128::from(u32::MAX)),
                    Some("int32") => (i128::from(i32::MIN), i128::from(i32::MAX)),
                    Some("int64") => (i128::from(i64::MIN), i128::from(i64::MAX)),
                    _ => (0, i128::from(u64::MAX)),
                };
                Form::Whole { least: bound("minimum").unwrap_or(least), most: bound("maximum").unwrap_or(most) }
            }
            "number" => {
                let bound = |name: &str| schema.get(name).and_then(Value::as_f64);
                Form::Number {
                    least: bound("minimum").unwrap_or(f64::NEG_INFINITY),
                    most: bound("maximum").unwrap_or(f64::INFINITY),
                }
            }
            "boolean" => Form::Flag,
            _ => Form::Anything,
        }
    }

    fn object(&mut self, schema: &Map<String, Value>, variants: &[Value]) -> Form {
        let required: Vec<&str> =
            schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
        let named = schema.get("properties").and_then(Value::as_object);
        let mut members: BTreeMap<String, Member> = named
            .into_iter()
            .flatten()
            .map(|(name, member)| {
                let required = required.contains(&name.as_str());
                (name.clone(), Member { shape: self.make(member), required })
            })
            .collect();
        let variants: Vec<Shape> = variants.iter().map(|variant| self.make(variant)).collect();
        for (name, member) in either(variants) {
            members.entry(name).or_insert(member);
        }
        let values = schema.get("additionalProperties").filter(|values| values.is_object());
        // Names that are data are names of ports.
        let names = schema.get("propertyNames").and(check_of("PortName"));
        let others = values.map(|values| {
            Box::new(Others {
                names,
                values: self.make(values),
                most: schema.get("maxProperties").and_then(Value::as_u64).and_then(|most| usize::try_from(most).ok()),
            })
        });
        Form::Object { members: members.into(), others }
    }
}

/// The members of all objects of which a value may be one. Its type decides which one, and so what is required.
fn either(shapes: Vec<Shape>) -> BTreeMap<String, Member> {
    let mut members: BTreeMap<String, Member> = BTreeMap::new();
    for shape in shapes {
        let Form::Object { members: more, .. } = shape.form else { continue };
        for (name, mut member) in more.0 {
            member.required = false;
            let Some(known) = members.get_mut(&name) else {
                members.insert(name, member);
                continue;
            };
            match (&mut known.shape.form, member.shape.form) {
                (Form::Choice(names), Form::Choice(more)) => names.extend(more),
                (form, _) => *form = Form::Anything,
            }
        }
    }
    members
}

fn choice(schema: &Map<String, Value>) -> Option<Form> {
    let texts = |values: &[Value]| values.iter().map(|value| value.as_str().map(str::to_owned)).collect();
    let names: Option<Vec<String>> = match (schema.get("const"), schema.get("enum").and_then(Value::as_array)) {
        (Some(only), _) => texts(std::slice::from_ref(only)),
        (None, Some(values)) => texts(&values.iter().filter(|value| !value.is_null()).cloned().collect::<Vec<_>>()),
        (None, None) => None,
    };
    names.map(Form::Choice)
}
