//! All interleavings of small worlds: every order of messages, accesses, deadlines and one loss of a connection.

mod world;

use pagemesh_protocol::CHUNK_PAGES;
use world::Setup;
use world::explore::{BOTH, holds};
use world::machine::{load, store};

#[test]
fn three_agents_one_page() {
    for coherence in BOTH {
        let world = || Setup::new(3, 1, coherence, 1);
        let writers =
            world().program(0, &[store(0)]).program(1, &[load(0), store(0)]).program(2, &[store(0), load(0)]);
        holds("3 agents, 1 page, writers", &writers, 0, 0);
        let hasty = world().program(0, &[store(0)]).program(1, &[store(0)]).program(2, &[load(0)]);
        holds("3 agents, 1 page, a turn that ends too early", &hasty, 0, 1);
    }
}

#[test]
fn three_agents_one_page_and_a_lost_connection() {
    for coherence in BOTH {
        let world = || Setup::new(3, 1, coherence, 1);
        let away = world().program(1, &[load(0), store(0)]).program(2, &[store(0)]);
        holds("3 agents, 1 page, home only orders", &away, 1, 0);
        let all = world().program(0, &[load(0)]).program(1, &[store(0)]).program(2, &[load(0)]);
        holds("3 agents, 1 page, one writer", &all, 1, 0);
        let home = world().program(0, &[store(0)]).program(1, &[store(0)]).program(2, &[load(0)]);
        holds("3 agents, 1 page, home writes", &home, 1, 0);
        let twice = world().program(1, &[load(0)]).program(2, &[store(0)]);
        holds("3 agents, 1 page, home only orders", &twice, 2, 0);
        let writers =
            world().program(0, &[store(0)]).program(1, &[load(0), store(0)]).program(2, &[store(0)]);
        holds("3 agents, 1 page, writers", &writers, 1, 0);
    }
}

#[test]
fn two_agents_two_pages_and_a_lost_connection() {
    for coherence in BOTH {
        // Pages of different chunks, so that each agent is the home of one.
        let (here, there) = (0, CHUNK_PAGES);
        let setup = Setup::new(2, 2 * CHUNK_PAGES, coherence, 1)
            .program(0, &[store(here), load(there)])
            .program(1, &[store(there), load(here)]);
        holds("2 agents, 2 pages", &setup, 1, 0);
        let setup = Setup::new(2, 2 * CHUNK_PAGES, coherence, 1)
            .program(0, &[store(there), store(here)])
            .program(1, &[load(here), store(there)]);
        holds("2 agents, 2 pages, crossed", &setup, 1, 0);
    }
}
