//! What a peer or a placement can get wrong when homes move, agents leave and regions go: each is refused with its
//! reason, and changes nothing.

use pagemesh_protocol::{
    Access, AgentId, Body, CHUNK_PAGES, Coherence, Fill, Incarnation, Input, Message, Node, Open, Output,
    PageId, Placement, RegionConfig, RegionId, RequestId, Roles, Time, Tuning, Txn, Violation,
};

const REGION: RegionId = RegionId(0);
const ME: AgentId = AgentId(1);
const A: AgentId = AgentId(0);
const B: AgentId = AgentId(2);
const LIFE: Incarnation = Incarnation(7);

fn step(node: &mut Node, input: Input) -> Vec<Output> {
    let mut out = Vec::new();
    node.step(Time(1), input, &mut out);
    out
}

fn declare(epoch: u64, chunks: u64, homes: &[AgentId], previous: &[AgentId]) -> Input {
    let config = RegionConfig { pages: chunks * CHUNK_PAGES, coherence: Coherence::WriteInvalidate };
    let placement = Placement { epoch, homes: homes.to_vec(), previous: previous.to_vec() };
    Input::Region { region: REGION, config, placement }
}

fn alone() -> Node {
    let mut node = Node::new(ME, LIFE, Tuning::default());
    for peer in [A, B] {
        step(&mut node, Input::PeerUp { peer, incarnation: LIFE });
    }
    node
}

/// Two chunks: the first moves from A to this node, the second from this node to A.
fn moving() -> Node {
    let mut node = alone();
    assert_eq!(step(&mut node, declare(3, 2, &[A, ME], &[])), []);
    let out = step(&mut node, declare(4, 2, &[ME, A], &[A, ME]));
    assert_eq!(sent(&out), [(A, 0, Body::Claim { exact: false })]);
    assert!(!node.settled(REGION));
    node
}

fn page(index: u64) -> PageId {
    PageId { region: REGION, index }
}

fn told(node: &mut Node, from: AgentId, epoch: u64, index: u64, body: Body) -> Vec<Output> {
    step(node, Input::Message { from, message: Message { page: page(index), epoch, body } })
}

fn sent(out: &[Output]) -> Vec<(AgentId, u64, Body)> {
    let messages = out.iter().filter_map(|output| {
        let Output::Send { to, message, .. } = output else { return None };
        Some((*to, message.page.index, message.body))
    });
    messages.collect()
}

/// What is objected to, when nothing else comes of it.
fn refused(node: &Node, from: AgentId, epoch: u64, index: u64, body: Body) -> Option<Violation> {
    let mut after = node.clone();
    let out = told(&mut after, from, epoch, index, body);
    match out[..] {
        [Output::Violation { from: blamed, reason }] => {
            assert!(after == *node, "a refused message changes nothing");
            assert_eq!(blamed, from);
            Some(reason)
        }
        _ => None,
    }
}

fn objection(node: &Node, input: Input) -> Option<Violation> {
    let mut after = node.clone();
    match step(&mut after, input)[..] {
        [Output::Violation { from: ME, reason }] => {
            assert!(after == *node, "a refused placement changes nothing");
            Some(reason)
        }
        _ => None,
    }
}

const ENTRY: Body = Body::Entry { version: Txn(9), open: None };
const CLAIMED: Body = Body::Claimed { exact: false, to: 2 * CHUNK_PAGES, last: Txn(20) };

fn member(agent: AgentId, roles: Roles) -> Body {
    Body::Member { agent, incarnation: LIFE, roles }
}

#[test]
fn entries_go_from_the_previous_home_to_the_new_one_and_claims_the_other_way() {
    let node = moving();
    let (comes, goes) = (0, CHUNK_PAGES);
    for claim in [Body::Claim { exact: false }, Body::Claim { exact: true }, Body::Settled] {
        assert_eq!(refused(&node, A, 4, goes, claim), None);
        assert_eq!(refused(&node, B, 4, goes, claim), Some(Violation::NotFromHome));
        assert_eq!(refused(&node, A, 4, comes, claim), Some(Violation::NotFromHome));
    }
    for entry in [ENTRY, member(B, Roles::SHARER), CLAIMED] {
        assert_eq!(refused(&node, A, 4, comes, entry), None);
        assert_eq!(refused(&node, B, 4, comes, entry), Some(Violation::NotFromHome));
        assert_eq!(refused(&node, A, 4, goes, entry), Some(Violation::NotHome));
    }
    // Under the placement before, nothing moved; nor does what stays where it is.
    let mut still = alone();
    step(&mut still, declare(4, 2, &[A, ME], &[]));
    assert_eq!(refused(&still, A, 4, 0, Body::Claim { exact: false }), Some(Violation::NotHome));
    assert_eq!(refused(&still, A, 4, goes, ENTRY), Some(Violation::NotFromHome));
}

#[test]
fn a_claim_of_another_epoch_is_refused() {
    let mut node = alone();
    step(&mut node, declare(3, 2, &[A, ME], &[]));
    let out = told(&mut node, A, 4, CHUNK_PAGES, Body::Claim { exact: false });
    assert_eq!(sent(&out), [(A, CHUNK_PAGES, Body::Refused)]);
    // Who is refused claims again when the time has come.
    let mut node = moving();
    assert_eq!(told(&mut node, A, 3, 0, Body::Refused), []);
    let (deadline, mut out) = (node.deadline().expect("it tries again"), Vec::new());
    node.step(deadline, Input::Tick, &mut out);
    assert_eq!(sent(&out), [(A, 0, Body::Claim { exact: false })]);
}

#[test]
fn entries_that_cannot_be() {
    let node = moving();
    let (txn, req, access, fill, push) = (Txn(9), RequestId(1), Access::Write, Fill::Zero, false);
    let entry = |version, txn, requester| Body::Entry {
        version,
        open: Some(Open { txn, req, requester, access, fill, push }),
    };
    let (bad, too_great) = (AgentId(1024), Txn(1 << 63));
    assert_eq!(refused(&node, A, 4, 0, entry(txn, txn, B)), None);
    assert_eq!(refused(&node, A, 4, 0, entry(txn, txn, bad)), Some(Violation::BadAgent));
    assert_eq!(refused(&node, A, 4, 0, member(bad, Roles::OWNER)), Some(Violation::BadAgent));
    assert_eq!(refused(&node, A, 4, 0, entry(too_great, txn, B)), Some(Violation::BadTransaction));
    assert_eq!(refused(&node, A, 4, 0, entry(txn, too_great, B)), Some(Violation::BadTransaction));
    let claimed = Body::Claimed { exact: true, to: 1, last: too_great };
    assert_eq!(refused(&node, A, 4, 0, claimed), Some(Violation::BadTransaction));
}

#[test]
fn nothing_is_served_before_the_entry_is_there() {
    let mut node = moving();
    let get = Body::Get { req: RequestId(1), access: Access::Read, have: Txn::NONE };
    assert_eq!(sent(&told(&mut node, B, 4, 5, get)), [(A, 5, Body::Claim { exact: true })]);
    // Once is enough; and what is not a request is to be said again.
    assert_eq!(told(&mut node, B, 4, 5, get), []);
    for body in [Body::Holding { txn: Txn(3) }, Body::TurnOver { version: Txn(3) }, Body::Unsubscribe] {
        assert_eq!(sent(&told(&mut node, B, 4, 5, body)), [(B, 5, Body::Refused)]);
    }
    assert_eq!(told(&mut node, A, 4, 5, ENTRY), []);
    assert_eq!(told(&mut node, A, 4, 5, member(A, Roles::OWNER)), []);
    let claimed = Body::Claimed { exact: true, to: 6, last: Txn(20) };
    let out = sent(&told(&mut node, A, 4, 5, claimed));
    assert!(
        matches!(out[..], [(A, 5, Body::Fetch { txn: Txn(21), requester: B, .. })]),
        "numbered behind all of the previous home's: {out:?}"
    );
    assert!(!node.settled(REGION), "the other pages are still to come");
    // What comes again changes nothing.
    assert_eq!(told(&mut node, A, 4, 5, ENTRY), []);
    assert_eq!(node.view(page(5)).unwrap().home.unwrap().owner, Some(A));
    assert_eq!(sent(&told(&mut node, A, 4, 0, CLAIMED)), [(A, 0, Body::Settled)]);
    assert!(node.settled(REGION));
}

#[test]
fn a_requester_is_not_taken_for_its_own_source() {
    let mut node = moving();
    let (txn, req, access, fill, push) = (Txn(9), RequestId(1), Access::Write, Fill::Zero, false);
    let open = Some(Open { txn, req, requester: ME, access, fill, push });
    told(&mut node, A, 4, 0, Body::Entry { version: Txn(8), open });
    told(&mut node, A, 4, 0, member(ME, Roles::SOURCE.and(Roles::INVALIDATED)));
    let out = told(&mut node, A, 4, 0, CLAIMED);
    assert!(sent(&out).iter().all(|(_, _, body)| *body == Body::Settled), "{out:?}");
}

#[test]
fn placements_that_do_not_follow() {
    let homes_moved = Some(Violation::HomesMoved);
    let mut home = alone();
    step(&mut home, declare(3, 2, &[A, ME], &[]));
    assert_eq!(objection(&home, declare(4, 2, &[A], &[])), homes_moved);
    assert_eq!(objection(&home, declare(4, 2, &[A], &[A])), homes_moved);
    assert_eq!(objection(&home, declare(4, 2, &[A], &[ME, A])), homes_moved);
    assert_eq!(objection(&home, declare(4, 2, &[A], &[A, AgentId(1024)])), Some(Violation::BadAgent));
    assert_eq!(objection(&home, declare(4, 2, &[A], &[A, ME])), None);
    // While entries are to come, the move goes on as it is; the region may grow meanwhile.
    let node = moving();
    assert_eq!(objection(&node, declare(5, 2, &[A], &[ME, A])), homes_moved);
    assert_eq!(objection(&node, declare(5, 2, &[ME, A], &[])), homes_moved);
    assert_eq!(objection(&node, declare(5, 2, &[ME, A], &[A, ME])), None);
    assert_eq!(objection(&node, declare(5, 3, &[ME, A], &[A, ME])), None);
    // Who has no part in a region may have missed anything; but not that it was a home.
    let mut bystander = alone();
    step(&mut bystander, declare(3, 2, &[A], &[]));
    assert_eq!(objection(&bystander, declare(9, 2, &[B], &[])), None);
    assert_eq!(objection(&bystander, declare(9, 2, &[ME], &[B])), None);
    assert_eq!(objection(&bystander, declare(9, 2, &[ME], &[])), homes_moved);
    assert_eq!(objection(&bystander, declare(9, 2, &[B], &[ME])), homes_moved);
    // A home in a former life has nothing of it in this one, and nobody is told that there was nothing.
    let mut reborn = alone();
    assert_eq!(objection(&reborn, declare(4, 2, &[ME, A], &[ME])), homes_moved);
    assert_eq!(step(&mut reborn, declare(4, 2, &[A], &[ME])), []);
    assert_eq!(refused(&reborn, A, 4, 0, Body::Claim { exact: false }), Some(Violation::NotHome));
}

#[test]
fn regions_grow_and_do_not_shrink() {
    let mut node = alone();
    step(&mut node, declare(3, 2, &[ME], &[]));
    let get = Body::Get { req: RequestId(1), access: Access::Read, have: Txn::NONE };
    let beyond = 2 * CHUNK_PAGES;
    assert_eq!(refused(&node, A, 3, beyond, get), Some(Violation::NoSuchPage));
    assert_eq!(objection(&node, declare(4, 1, &[ME], &[])), Some(Violation::Shrunk));
    assert_eq!(step(&mut node, declare(4, 3, &[ME], &[])), []);
    assert!(matches!(sent(&told(&mut node, A, 4, beyond, get))[..], [(A, _, Body::Grant { .. })]));
}

#[test]
fn who_may_leave_and_who_may_be_told() {
    let mut home = alone();
    step(&mut home, declare(3, 1, &[ME, A], &[]));
    let leave = Body::Leave { req: RequestId(5), keep: true };
    let left = Body::Left { req: RequestId(1), keep: true };
    assert_eq!(objection(&home, Input::Leave { region: REGION }), Some(Violation::LeavesHome));
    assert_eq!(refused(&home, A, 3, 0, leave), Some(Violation::LeavesHome));
    assert_eq!(refused(&home, B, 3, 0, left), Some(Violation::NotFromHome));
    assert_eq!(
        sent(&told(&mut home, B, 3, 0, leave)),
        [(B, 0, Body::Left { req: RequestId(5), keep: true })]
    );
    let mut other = alone();
    step(&mut other, declare(3, 1, &[A], &[]));
    assert_eq!(refused(&other, B, 3, 0, leave), Some(Violation::NotHome));
    // Answers to what was not asked, or asked before, are nothing to it.
    assert_eq!(told(&mut other, A, 3, 0, left), []);
    let asked = sent(&step(&mut other, Input::Leave { region: REGION }));
    let [(A, 0, Body::Leave { req, keep: true })] = asked[..] else { panic!("{asked:?}") };
    assert_eq!(step(&mut other, Input::Leave { region: REGION }), []);
    assert_eq!(told(&mut other, A, 3, 0, Body::Left { req: RequestId(req.0 - 1), keep: true }), []);
    assert_eq!(
        told(&mut other, A, 3, 0, Body::Left { req, keep: false }),
        [],
        "this is not the second round"
    );
    let again = sent(&told(&mut other, A, 3, 0, Body::Left { req, keep: true }));
    assert_eq!(again, [(A, 0, Body::Leave { req, keep: false })]);
    let out = told(&mut other, A, 3, 0, Body::Left { req, keep: false });
    assert_eq!(out, [Output::Left { region: REGION }]);
    assert_eq!(told(&mut other, A, 3, 0, Body::Left { req, keep: false }), []);
    let unknown = RegionId(9);
    assert_eq!(step(&mut other, Input::Leave { region: unknown }), [Output::Left { region: unknown }]);
}

#[test]
fn a_region_that_is_dropped_is_gone() {
    let mut node = alone();
    step(&mut node, declare(3, 1, &[ME], &[]));
    step(&mut node, Input::Fault { page: page(0), access: Access::Write });
    let get = Body::Get { req: RequestId(1), access: Access::Write, have: Txn::NONE };
    told(&mut node, A, 3, 0, get);
    let mut out = Vec::new();
    node.step(node.deadline().expect("the turn ends"), Input::Tick, &mut out);
    assert!(out.contains(&Output::Take { page: page(0) }), "{out:?}");
    step(&mut node, Input::Fault { page: page(1), access: Access::Read });
    let out = step(&mut node, Input::Drop { region: REGION });
    assert_eq!(out, [Output::Forget { page: page(0) }]);
    assert!(node.in_flight().is_idle() && !node.settled(REGION) && node.deadline().is_none());
    let fault = Input::Fault { page: page(0), access: Access::Read };
    assert_eq!(step(&mut node, fault), [Output::Violation { from: ME, reason: Violation::NoSuchPage }]);
    let out = told(&mut node, A, 3, 0, get);
    assert!(matches!(out[..], [Output::Send { message: Message { epoch: 0, body: Body::Refused, .. }, .. }]));
    assert_eq!(step(&mut node, Input::Drop { region: REGION }), []);
    // Made again, it is empty.
    assert_eq!(step(&mut node, declare(4, 1, &[ME], &[])), []);
    assert_eq!(node.view(page(0)).unwrap().home.unwrap().owner, None);
}

#[test]
fn another_life_is_let_in_when_nothing_refers_to_the_one_before() {
    let other = |peer| Input::PeerUp { peer, incarnation: Incarnation(8) };
    let is_refused = |node: &Node, peer| {
        let out = step(&mut node.clone(), other(peer));
        out == [Output::RefusePeer { peer, reason: Violation::OtherIncarnation }]
    };
    let mut node = alone();
    assert!(!is_refused(&node, A));
    step(&mut node, declare(3, 2, &[A, ME], &[]));
    assert!(!is_refused(&node, A), "a placement does not say which life of a home it means");
    assert!(!is_refused(&node, B));
    let get = Body::Get { req: RequestId(1), access: Access::Read, have: Txn::NONE };
    told(&mut node, B, 3, CHUNK_PAGES, get);
    assert!(is_refused(&node, B), "it shares a page");
    // What comes over the refused connection is not heard.
    let mut after = node.clone();
    step(&mut after, other(B));
    let connected = after.clone();
    assert_eq!(told(&mut after, B, 3, CHUNK_PAGES, get), []);
    assert!(after == connected);
    // It gives all back: now another one may come.
    told(&mut node, B, 3, 0, Body::Leave { req: RequestId(2), keep: false });
    assert!(!is_refused(&node, B));
    assert!(matches!(sent(&step(&mut node, other(B)))[..], [(B, 0, Body::Resumed)]));
    // Entries that are to come may mention anybody; but who sends them must be let in.
    assert!(is_refused(&moving(), B));
    assert!(!is_refused(&moving(), A));
    // And now the one before is another one.
    assert!(!is_refused(&node, B));
    told(&mut node, B, 3, CHUNK_PAGES, get);
    let out = step(&mut node, Input::PeerUp { peer: B, incarnation: LIFE });
    assert_eq!(out, [Output::RefusePeer { peer: B, reason: Violation::OtherIncarnation }]);
}

#[test]
fn a_life_that_an_entry_from_elsewhere_contradicts_is_turned_out() {
    let mut node = alone();
    step(&mut node, declare(3, 2, &[A], &[]));
    step(&mut node, Input::PeerUp { peer: B, incarnation: Incarnation(8) });
    step(&mut node, declare(4, 2, &[ME], &[A]));
    let get = Body::Get { req: RequestId(1), access: Access::Write, have: Txn::NONE };
    told(&mut node, B, 4, 5, get);
    told(&mut node, A, 4, 5, ENTRY);
    // The page has a reader in the life before, of which the new one that waits for the page knows nothing.
    let out = told(&mut node, A, 4, 5, member(B, Roles::SHARER));
    assert_eq!(out, [Output::RefusePeer { peer: B, reason: Violation::OtherIncarnation }]);
    let out = told(&mut node, A, 4, 0, CLAIMED);
    assert_eq!(sent(&out), [(A, 0, Body::Settled)], "and it does not get the page");
    for incarnation in [Incarnation(8), LIFE] {
        let out = step(&mut node, Input::PeerUp { peer: B, incarnation });
        assert_eq!(out, [Output::RefusePeer { peer: B, reason: Violation::OtherIncarnation }]);
    }
}
