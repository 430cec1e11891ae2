//! A world as text, for scenario files and for people.

use std::fmt::Write as _;

use pagemesh_protocol::{AgentId, PageId, PageState};

use super::World;
use super::machine::Machine;

fn ids(agents: &[AgentId]) -> String {
    agents.iter().map(|a| format!("n{}", a.0)).collect::<Vec<_>>().join(",")
}

impl World {
    /// The whole state in a few lines, for scenario files and for people.
    pub fn print(&self) -> String {
        let mut text = String::new();
        let mut pages: Vec<PageId> =
            self.machines.iter().flat_map(Machine::pages).chain(self.last.keys().copied()).collect();
        pages.sort_unstable();
        pages.dedup();
        for p in pages {
            for (n, node) in self.nodes.iter().enumerate() {
                let Some(view) = node.view(p) else {
                    let _ = writeln!(text, "  p{} n{n} does not know the region", p.index);
                    continue;
                };
                let state = match view.state {
                    PageState::Invalid => "invalid",
                    PageState::Shared => "shared",
                    PageState::Exclusive => "exclusive",
                };
                let _ = write!(
                    text,
                    "  p{} n{n} {state} v{}{}",
                    p.index,
                    view.version.0,
                    self.machines[n].print(p)
                );
                if let Some((req, access)) = view.request {
                    let _ = write!(text, " asked={}/{access:?}", req.0);
                }
                if let Some(txn) = view.aside {
                    let _ = write!(text, " aside=t{}", txn.0);
                }
                if view.deferred {
                    text.push_str(" deferred");
                }
                if view.departed {
                    text.push_str(" keeps the entry");
                }
                if let Some(home) = view.home {
                    if !home.known {
                        text.push_str(" | home: entry to come");
                        if !home.queue.is_empty() {
                            let _ = write!(text, " queue=[{}]", ids(&home.queue));
                        }
                        text.push('\n');
                        continue;
                    }
                    let owner = home.owner.map_or("nobody".to_owned(), |o| format!("n{}", o.0));
                    let _ = write!(
                        text,
                        " | home: owner={owner} v{} sharers=[{}]",
                        home.version.0,
                        ids(&home.sharers)
                    );
                    if !home.subscribers.is_empty() {
                        let _ = write!(text, " subscribers=[{}]", ids(&home.subscribers));
                    }
                    if let Some((txn, kind, requester)) = home.active {
                        let _ = write!(text, " open=t{}/{kind}/n{}", txn.0, requester.0);
                    }
                    if !home.queue.is_empty() {
                        let _ = write!(text, " queue=[{}]", ids(&home.queue));
                    }
                }
                text.push('\n');
            }
        }
        for n in (0..self.nodes.len()).filter(|&n| self.control.is_left(n)) {
            let _ = writeln!(text, "  n{n} has left");
        }
        for ((a, b), link) in self.links.iter().filter(|(_, l)| !l.is_empty()) {
            let _ = write!(text, "  n{a}->n{b}:");
            for (message, contents) in link {
                let _ = write!(text, " {}", message.body.name());
                if let Some(value) = contents {
                    let _ = write!(text, "({value})");
                }
            }
            text.push('\n');
        }
        text
    }
}
