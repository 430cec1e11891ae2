//! Which Kubernetes pagemesh needs.

use std::fmt;

/// A version of Kubernetes: its major and its minor number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version(pub(crate) u32, pub(crate) u32);

/// The oldest that will do: from here on every pod's token names its node, by which the admission policy holds an agent to its
/// own objects.
pub(crate) const VERSION_MIN: Version = Version(1, 32);

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chart_and_the_book_ask_for_the_same() {
        let chart = include_str!("../../../charts/pagemesh/Chart.yaml");
        let install = include_str!("../../../docs/src/install.md");
        let command_line = include_str!("../../../docs/src/cli.md");
        for (name, text, expected) in [
            ("Chart.yaml", chart, format!("\nkubeVersion: \">={VERSION_MIN}.0-0\"\n")),
            ("install.md", install, format!("\n| Kubernetes | {VERSION_MIN} or later")),
            ("cli.md", command_line, format!(" older than Kubernetes {VERSION_MIN} |")),
        ] {
            assert!(text.contains(&expected), "{name} says: {}", expected.trim());
        }
    }
}
