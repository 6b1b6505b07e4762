//! Statistics as no controller should send them, and some do.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// What is wrong with the nodes of an answer to `simulation_stats`, or of a `lab_stats` that is pushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StatisticsDefect {
    /// As many nodes again that no lab has.
    UnknownNodes,
    /// Every figure is below zero.
    Negative,
    /// Every figure is null.
    Null,
    /// Every figure is far beyond what a machine can have.
    Absurd,
    /// No figures, only since when a node is in which state.
    TimesOnly,
}

impl StatisticsDefect {
    /// Of `{"nodes": {id: …}, …}`; anything else stays as it is.
    pub(crate) fn apply(self, statistics: &mut Value) {
        let Some(nodes) = statistics.get_mut("nodes").and_then(Value::as_object_mut) else { return };
        if self == Self::UnknownNodes {
            let strangers: Vec<Value> = nodes.values().cloned().collect();
            nodes.extend(strangers.into_iter().zip(0_u64..).map(|(node, number)| (stranger(number), node)));
            return;
        }
        for node in nodes.values_mut().filter_map(Value::as_object_mut) {
            self.apply_to_node(node);
        }
    }

    fn apply_to_node(self, node: &mut Map<String, Value>) {
        match self {
            Self::UnknownNodes => {}
            Self::TimesOnly => node.retain(|name, _| name == "times"),
            Self::Negative | Self::Null | Self::Absurd => {
                node.values_mut().for_each(|value| self.apply_to_figure(value));
            }
        }
    }

    fn apply_to_figure(self, value: &mut Value) {
        match value {
            Value::Number(number) => {
                *value = match self {
                    Self::Negative => json!(-1.0 - number.as_f64().unwrap_or_default()),
                    Self::Absurd if number.is_f64() => json!(1e300),
                    Self::Absurd => json!(u64::MAX),
                    Self::UnknownNodes | Self::Null | Self::TimesOnly => Value::Null,
                }
            }
            Value::Object(times) => times.values_mut().for_each(|value| self.apply_to_figure(value)),
            Value::Null | Value::Bool(_) | Value::String(_) | Value::Array(_) => {}
        }
    }
}

/// An id in the form of a UUID that no lab has.
fn stranger(number: u64) -> String {
    format!("0badc0de-0000-4000-8000-{number:012x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statistics() -> Value {
        json!({
            "nodes": { "a": { "cpu_usage": 2.5, "disk_usage": 7, "is_running": true, "times": { "BOOTED": 5 } } },
            "links": { "b": { "drops": 0 } },
        })
    }

    fn defective(defect: StatisticsDefect) -> Value {
        let mut statistics = statistics();
        defect.apply(&mut statistics);
        assert_eq!(statistics["links"], json!({ "b": { "drops": 0 } }));
        statistics["nodes"].clone()
    }

    #[test]
    fn each_defect_shows_in_the_figures_of_the_nodes() {
        use StatisticsDefect::{Absurd, Negative, Null, TimesOnly, UnknownNodes};
        assert_eq!(defective(UnknownNodes).as_object().unwrap().len(), 2);
        let node = |defect| defective(defect)["a"].clone();
        assert_eq!(node(TimesOnly), json!({ "times": { "BOOTED": 5 } }));
        let (negative, null, absurd) = (node(Negative), node(Null), node(Absurd));
        assert_eq!((&negative["cpu_usage"], &negative["times"]["BOOTED"]), (&json!(-3.5), &json!(-6.0)));
        assert_eq!((&null["disk_usage"], &null["is_running"]), (&Value::Null, &json!(true)));
        assert_eq!((&absurd["cpu_usage"], &absurd["disk_usage"]), (&json!(1e300), &json!(u64::MAX)));
    }
}
