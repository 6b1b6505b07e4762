//! As much of PromQL as is needed to know which metrics and labels an expression names.

/// A metric that is read, with what its labels have to be.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Selector {
    pub(super) name: String,
    pub(super) matchers: Vec<Matcher>,
}

/// `label="value"`, by whatever comparison.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Matcher {
    pub(super) label: String,
    pub(super) value: String,
}

/// The metrics that an expression reads. Names are those with an underscore or a colon before any bracket, and `up`: so are
/// all metrics here, and no function or label outside braces and groupings.
pub(super) fn selectors(expression: &str) -> Vec<Selector> {
    let mut found = Vec::new();
    let mut rest = expression;
    while let Some(start) = rest.find(|letter: char| letter.is_ascii_alphabetic()) {
        rest = &rest[start..];
        let end = rest.find(|letter| !is_of_a_name(letter)).unwrap_or(rest.len());
        let (name, after) = rest.split_at(end);
        rest = after;
        if ["by", "on", "without", "ignoring"].contains(&name) {
            // Labels, not metrics.
            rest = rest.split_once(')').map_or("", |(_, after)| after);
        } else if name == "up" || is_a_metric(name) {
            let mut matchers = Vec::new();
            if let Some(inside) = rest.strip_prefix('{') {
                (matchers, rest) = read_matchers(inside);
            }
            found.push(Selector { name: name.to_owned(), matchers });
        }
        // A range is no name: `[5m]`, `[$__rate_interval]`.
        if let Some(range) = rest.strip_prefix('[') {
            rest = range.split_once(']').map_or("", |(_, after)| after);
        }
    }
    found
}

/// The labels by which an expression groups or joins.
pub(super) fn grouping_labels(expression: &str) -> Vec<String> {
    let mut labels = Vec::new();
    for keyword in [" by (", " on (", "by(", "on("] {
        for rest in expression.split(keyword).skip(1) {
            let inside = rest.split(')').next().unwrap_or_default();
            labels.extend(inside.split(',').map(|label| label.trim().to_owned()));
        }
    }
    labels
}

fn is_of_a_name(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || letter == '_' || letter == ':'
}

fn is_a_metric(name: &str) -> bool {
    ["lablet_", "lablet:", "process_"].iter().any(|prefix| name.starts_with(prefix))
}

/// What stands in braces, and what comes after them.
fn read_matchers(inside: &str) -> (Vec<Matcher>, &str) {
    let mut matchers = Vec::new();
    let mut rest = inside;
    loop {
        rest = rest.trim_start_matches([',', ' ', '\n']);
        if let Some(after) = rest.strip_prefix('}') {
            return (matchers, after);
        }
        let Some((label, after)) = rest.split_once(['=', '!']) else { return (matchers, "") };
        let Some((_, value)) = after.split_once('"') else { return (matchers, "") };
        let Some((value, after)) = value.split_once('"') else { return (matchers, "") };
        matchers.push(Matcher { label: label.trim().to_owned(), value: value.to_owned() });
        rest = after;
    }
}

#[test]
fn an_expression_names_its_metrics_with_their_labels_and_groupings() {
    let expression = "histogram_quantile(0.99, sum by (read, le) (rate(lablet_cml_request_seconds_bucket{outcome!~\"ok|gone\", \
                      job=\"lablet\"}[$__rate_interval]))) > 0.5 and lablet:errors:ratio_rate5m > 1 or up{job=\"lablet\"} == 0";
    let matcher = |label: &str, value: &str| Matcher { label: label.to_owned(), value: value.to_owned() };
    let selector = |name: &str, matchers| Selector { name: name.to_owned(), matchers };
    let of_reads = vec![matcher("outcome", "ok|gone"), matcher("job", "lablet")];
    assert_eq!(
        selectors(expression),
        [
            selector("lablet_cml_request_seconds_bucket", of_reads),
            selector("lablet:errors:ratio_rate5m", Vec::new()),
            selector("up", vec![matcher("job", "lablet")]),
        ]
    );
    assert_eq!(grouping_labels(expression), ["read", "le"]);
}
