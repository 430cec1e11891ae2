//! Reads the text format of Prometheus, as far as our agents write it.

use anyhow::{Result, anyhow};

/// One line: a metric, its labels and its value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sample<'a> {
    /// Name, with `_bucket`, `_sum` or `_count` for a part of a histogram.
    pub(crate) name: &'a str,
    labels: Vec<(&'a str, &'a str)>,
    /// Value.
    pub(crate) value: f64,
}

impl Sample<'_> {
    /// The value of a counter: these are whole, and begin with zero.
    pub(crate) fn count(&self) -> u64 {
        self.value as u64
    }

    /// The value of a label, empty if it has no such.
    pub(crate) fn label(&self, name: &str) -> &str {
        self.labels.iter().find(|(label, _)| *label == name).map_or("", |(_, value)| value)
    }
}

/// Reads all samples of a text.
///
/// # Errors
/// At a line that is no sample.
pub(crate) fn samples(text: &str) -> Result<Vec<Sample<'_>>> {
    let lines = text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#'));
    lines
        .map(|line| sample(line).ok_or_else(|| anyhow!("`{}` is not a metric", line.escape_debug())))
        .collect()
}

fn sample(line: &str) -> Option<Sample<'_>> {
    let (name, labels, value) = match line.split_once('{') {
        Some((name, rest)) => {
            let (labels, value) = rest.rsplit_once('}')?;
            (name, labels, value)
        }
        None => {
            let (name, value) = line.split_once(' ')?;
            (name, "", value)
        }
    };
    let labels = labels.split("\",").filter(|label| !label.is_empty()).map(|label| {
        let (name, value) = label.split_once("=\"")?;
        Some((name, value.strip_suffix('"').unwrap_or(value)))
    });
    Some(Sample { name, labels: labels.collect::<Option<_>>()?, value: value.trim().parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_agents_write() {
        let text = "# HELP a b\n# TYPE a counter\na 1\n\nb{x=\"1\",le=\"+Inf\"} 2.5\nc{region=\"a/b\"} 3e2\n";
        let all = samples(text).expect("metrics");
        assert_eq!(
            all.iter().map(|s| (s.name, s.value)).collect::<Vec<_>>(),
            [("a", 1.0), ("b", 2.5), ("c", 300.0)]
        );
        assert_eq!((all[1].label("x"), all[1].label("le"), all[1].label("y")), ("1", "+Inf", ""));
        assert_eq!(all[2].label("region"), "a/b");
    }

    #[test]
    fn what_is_none() {
        for bad in ["a", "a b", "a{x=\"1\" 2", "a{x} 1"] {
            assert!(samples(bad).is_err(), "{bad}");
        }
    }
}
