//! All interleavings of small worlds in which homes move, agents leave and come back, and a region is deleted and made
//! again: every agent hears of it at every moment, in every order of messages, accesses, deadlines and one loss of a
//! connection.
//!
//! `DEEP=1` adds the loss of a connection to the worlds that have more than a million states with it.

mod world;

use pagemesh_protocol::{AgentId, CHUNK_PAGES};
use world::Setup;
use world::control::Decree;
use world::explore::{BOTH, holds, holds_with_restarts};
use world::machine::{load, store};

fn homes(ids: &[u16]) -> Decree {
    Decree::Homes(ids.iter().copied().map(AgentId).collect())
}

/// How many connections are lost in the largest worlds.
fn deep() -> u32 {
    u32::from(std::env::var("DEEP").is_ok())
}

#[test]
fn a_page_moves_while_it_is_used() {
    for coherence in BOTH {
        let world = || Setup::new(3, 1, coherence, 1).homes(&[0]).then(homes(&[1]));
        let bystanders = world().program(2, &[store(0)]);
        holds("a page moves, a third agent writes", &bystanders, 1, 0);
        let both = world().program(0, &[store(0)]).program(1, &[load(0)]);
        holds("a page moves, its homes use it", &both, 1, 0);
        let new = world().program(1, &[store(0)]).program(2, &[load(0)]);
        holds("a page moves, its new home writes", &new, deep(), 0);
        let previous = world().program(0, &[store(0)]).program(2, &[load(0)]);
        holds("a page moves, its previous home writes", &previous, deep(), 0);
        let all = world().program(0, &[load(0)]).program(1, &[store(0)]).program(2, &[load(0)]);
        holds("a page moves, all use it", &all, 0, 0);
    }
}

#[test]
fn a_page_moves_there_and_back() {
    for coherence in BOTH {
        let setup = Setup::new(2, 1, coherence, 1).homes(&[0]).then(homes(&[1])).then(homes(&[0]));
        let setup = setup.program(0, &[store(0)]).program(1, &[load(0)]);
        holds("a page moves there and back", &setup, 0, 0);
        holds("a page moves there and back", &setup, 1, 0);
    }
}

/// The second page is wanted while the entry of the first is claimed: it is claimed on its own.
#[test]
fn a_page_behind_the_cursor_is_used() {
    for coherence in BOTH {
        let setup = Setup::new(2, 2, coherence, 1).homes(&[0]).then(homes(&[1]));
        let setup = setup.program(0, &[store(1)]).program(1, &[load(1)]);
        holds("a page behind the cursor is used", &setup, 1, 0);
    }
}

#[test]
fn one_of_two_pages_moves() {
    for coherence in BOTH {
        let (stays, moves) = (0, CHUNK_PAGES);
        let world = || Setup::new(2, 2 * CHUNK_PAGES, coherence, 1).homes(&[0, 1]).then(homes(&[0]));
        let setup = world().program(0, &[store(moves)]).program(1, &[store(stays)]);
        holds("one of two pages moves", &setup, 1, 0);
    }
}

#[test]
fn an_agent_leaves_while_others_use_the_page() {
    for coherence in BOTH {
        let world = || Setup::new(3, 1, coherence, 1).homes(&[0]);
        let owner = world().program(1, &[store(0)]).program(2, &[load(0)]).leaver(1, &[]);
        holds("an agent leaves", &owner, 1, 0);
        let back = world().program(1, &[store(0)]).program(2, &[store(0)]).leaver(1, &[load(0)]);
        holds("an agent leaves and is used again", &back, 0, 0);
        let home = Setup::new(2, 1, coherence, 1).homes(&[0]);
        let home = home.program(0, &[store(0)]).program(1, &[load(0)]).leaver(1, &[store(0)]);
        holds("an agent leaves and is used again, the home writes", &home, 1, 0);
    }
}

#[test]
fn an_agent_leaves_while_the_page_moves() {
    for coherence in BOTH {
        let setup = Setup::new(3, 1, coherence, 1).homes(&[0]).then(homes(&[1]));
        let setup = setup.program(2, &[store(0)]).leaver(2, &[]);
        holds("an agent leaves while the page moves", &setup, deep(), 0);
        let setup = Setup::new(2, 1, coherence, 1).homes(&[0]).then(homes(&[1]));
        let setup = setup.program(0, &[store(0)]).leaver(0, &[load(0)]);
        holds("the previous home leaves", &setup, 1, 0);
    }
}

#[test]
fn an_agent_that_has_left_comes_back_as_another_one() {
    for coherence in BOTH {
        let setup = Setup::new(2, 1, coherence, 1).homes(&[0]);
        let setup = setup.program(0, &[load(0)]).program(1, &[store(0)]).leaver(1, &[load(0)]);
        holds_with_restarts("an agent leaves and comes back as another one", &setup, 1, 0, 1);
    }
}

#[test]
fn a_region_is_deleted_and_made_again() {
    for coherence in BOTH {
        let again = Decree::Created(vec![AgentId(1)], vec![(0, vec![load(0)]), (1, vec![store(0)])]);
        let setup = Setup::new(2, 1, coherence, 1).homes(&[0]).then(Decree::Deleted).then(again);
        let setup = setup.program(0, &[store(0)]).program(1, &[load(0)]);
        holds("a region is deleted and made again", &setup, 1, 0);
    }
}
