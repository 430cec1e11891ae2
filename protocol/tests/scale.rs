//! What accesses cost, counted, and what they must not cost more of in a larger mesh. `make scale` counts the same for up
//! to 1,000 agents, and says it in tables.

#[allow(dead_code, reason = "make scale uses more of it")]
#[path = "../examples/scale/measure/mod.rs"]
mod measure;

#[allow(dead_code, reason = "make scale uses more of it")]
#[path = "../examples/scale/table.rs"]
mod table;

use measure::mesh::{Counts, Mesh, PAGE_LEN};
use measure::pattern::Pattern;
use measure::{COHERENCES, run};
use pagemesh_protocol::{Body, Coherence, MESSAGE_LEN};

const INVALIDATE: Coherence = Coherence::WriteInvalidate;
const UPDATE: Coherence = Coherence::WriteUpdate;

fn count(agents: usize, pattern: Pattern, coherence: Coherence) -> Counts {
    run(&Mesh::connected(agents), pattern, coherence)
}

/// How many messages of one kind there were.
fn of_kind(counts: &Counts, name: &str) -> u64 {
    counts.by_kind[Body::NAMES.iter().position(|kind| *kind == name).expect("there is such a kind")]
}

#[test]
fn what_an_agent_has_for_itself_costs_three_messages_once_and_nothing_after() {
    for agents in [2, 16, 64] {
        for (coherence, _) in COHERENCES {
            let first = count(agents, Pattern::FirstTouch, coherence);
            assert_eq!(first.faults, first.accesses);
            assert_eq!(first.messages, 3 * first.accesses, "get, grant, done");
            assert_eq!(first.bytes, first.messages * MESSAGE_LEN as u64, "nobody sends zeros");
            let later = count(agents, Pattern::Private, coherence);
            assert_eq!((later.faults, later.messages, later.steps.iter().sum()), (0, 0, 0));
            assert_eq!(later.accesses, 10 * first.accesses);
        }
    }
}

/// A read costs get, fetch, data, done; the write after it get, grant, invalidate, ack, done. What the home or the agent
/// after it does not say to another saves 8 messages a round.
#[test]
fn what_goes_from_agent_to_agent_costs_the_same_in_any_mesh() {
    for agents in [2, 16, 64] {
        let counts = count(agents, Pattern::Migratory, INVALIDATE);
        let turns = counts.accesses / 2;
        let rounds = turns / agents as u64;
        assert_eq!(counts.faults, counts.accesses);
        assert_eq!(counts.messages, 9 * turns - 8 * rounds);
        let contents = turns * u64::from(PAGE_LEN);
        assert_eq!(
            counts.bytes,
            counts.messages * MESSAGE_LEN as u64 + contents,
            "each turn moves the page once"
        );
        assert_eq!(counts.burst, 2);
    }
}

/// An agent that is sent updates and never reads them asks for no more of them, so that their number has a bound.
#[test]
fn updates_that_nobody_reads_end() {
    let all = count(8, Pattern::Migratory, UPDATE);
    let rounds = all.accesses / 16;
    assert_eq!(of_kind(&all, "update"), rounds * (8 * 6 + 1), "to all but the home and the writer before");
    for agents in [32, 64] {
        let counts = count(agents, Pattern::Migratory, UPDATE);
        let turns = counts.accesses / 2;
        assert!(of_kind(&counts, "update") <= 17 * turns, "{counts:?}");
        assert!(of_kind(&counts, "unsubscribe") > turns / 2, "{counts:?}");
    }
}

#[test]
fn who_does_not_consume_costs_the_producer_nothing() {
    for (coherence, _) in COHERENCES {
        let [few, many] = [8, 64].map(|agents| count(agents, Pattern::FewConsumers, coherence));
        assert_eq!(few.by_kind, many.by_kind);
        assert_eq!((few.bytes, few.burst), (many.bytes, many.burst));
    }
}

#[test]
fn updates_come_before_their_readers_ask() {
    let counts = count(64, Pattern::AllConsumers, UPDATE);
    let writes = counts.accesses / 64;
    assert_eq!(of_kind(&counts, "get"), writes, "readers ask for nothing");
    assert!(counts.faults < counts.accesses / 8, "most find the page mapped");
    // 62 to consumers that are not the home, an invalidation and an acknowledgement for each, and what a write takes.
    assert_eq!(counts.messages, writes * (3 * 62 + 7));
    let asked = count(64, Pattern::AllConsumers, INVALIDATE);
    assert_eq!(asked.faults, asked.accesses, "without updates each of them does");
    assert!(asked.messages < 6 * asked.accesses);
}

#[test]
fn a_race_for_one_page_costs_no_more_for_each_write_the_more_agents_run() {
    for agents in [2, 16, 64] {
        let counts = count(agents, Pattern::HotSpot, INVALIDATE);
        assert!(counts.messages <= 5 * counts.faults, "get, fetch, data, done, release");
        assert!(of_kind(&counts, "data") <= counts.faults);
        assert_eq!(of_kind(&counts, "invalidate"), 0);
        assert!(counts.burst <= 2);
    }
}

/// A copy that a write removes was fetched once: however many agents there are, they take as many copies as they read.
#[test]
fn reading_costs_no_more_than_fetching_each_time() {
    for agents in [2, 16, 64] {
        let counts = count(agents, Pattern::ReadMostly, INVALIDATE);
        assert!(of_kind(&counts, "invalidate") <= counts.faults);
        assert!(counts.messages <= 6 * counts.faults, "{counts:?}");
    }
}

#[test]
fn the_same_is_counted_each_time() {
    for (coherence, _) in COHERENCES {
        let [one, other] = [(); 2].map(|()| count(16, Pattern::ReadMostly, coherence));
        assert_eq!(one, other);
    }
}

/// What a table of the book tells per access, and with how many decimals.
type Measure = (fn(&Counts) -> u64, usize);

/// The tables of the book, as far as they can be counted here in little time.
#[test]
fn the_documentation_says_what_is_counted() {
    let book = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/src/performance.md");
    let book = std::fs::read_to_string(book).expect("the documentation is beside the crate");
    let measures: [Measure; 2] = [(|c| c.messages, 2), (|c| c.bytes, 0)];
    let meshes = [2, 8, 32].map(Mesh::connected);
    for pattern in Pattern::ALL {
        let counted =
            COHERENCES.map(|(coherence, _)| meshes.each_ref().map(|mesh| run(mesh, pattern, coherence)));
        let differ = counted[0] != counted[1];
        for (counts, (_, coherence)) in counted.iter().zip(COHERENCES) {
            let coherence = if differ { coherence } else { "both" };
            for (what, decimals) in measures {
                let cells =
                    counts.each_ref().map(|c| table::number(c.per_access(what(c)), decimals)).join(" | ");
                let row = format!("\n| {}, {coherence} | {cells} | ", pattern.name());
                assert!(
                    book.contains(&row),
                    "docs/src/performance.md does not say: {row}\nmake scale tells what it is to say"
                );
            }
        }
    }
}
