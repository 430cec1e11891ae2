//! What a peer or a configuration can get wrong: each is refused with its reason, and changes nothing.

mod world;

use pagemesh_protocol::{
    Access, AgentId, Body, CHUNK_PAGES, Coherence, Fill, Incarnation, Input, Message, Node, Output, PageId,
    Placement, RegionConfig, RegionId, RequestId, Time, Tuning, Txn, Violation,
};
use world::random::Random;

const REGION: RegionId = RegionId(0);
const ME: AgentId = AgentId(1);
const HOME: AgentId = AgentId(0);
const OTHER: AgentId = AgentId(2);

fn step(node: &mut Node, input: Input) -> Vec<Output> {
    let mut out = Vec::new();
    node.step(Time(1), input, &mut out);
    out
}

fn declare(epoch: u64, homes: &[AgentId]) -> Input {
    let config = RegionConfig { pages: 8, coherence: Coherence::WriteInvalidate };
    Input::Region {
        region: REGION,
        config,
        placement: Placement { epoch, homes: homes.to_vec(), previous: Vec::new() },
    }
}

/// Agent 1 of a region that agent 0 homes, connected to agents 0 and 2.
fn node() -> Node {
    let mut node = Node::new(ME, Incarnation(7), Tuning::default());
    assert_eq!(step(&mut node, declare(3, &[HOME])), []);
    for peer in [HOME, OTHER] {
        step(&mut node, Input::PeerUp { peer, incarnation: Incarnation(7) });
    }
    node
}

fn message(epoch: u64, index: u64, body: Body) -> Message {
    Message { page: PageId { region: REGION, index }, epoch, body }
}

fn refused(from: AgentId, message: Message) -> Option<Violation> {
    let mut node = node();
    let before = node.clone();
    let out = step(&mut node, Input::Message { from, message });
    assert!(node == before, "a refused message changes nothing");
    match out[..] {
        [Output::Violation { from: blamed, reason }] => {
            assert_eq!(blamed, from);
            Some(reason)
        }
        _ => None,
    }
}

const GET: Body = Body::Get { req: RequestId(1), access: Access::Read, have: Txn::NONE };

fn fetch(requester: AgentId) -> Body {
    let (txn, req, access) = (Txn(5), RequestId(1), Access::Read);
    Body::Fetch { txn, req, requester, access, acks: 0, push: false }
}

#[test]
fn pages_outside_of_the_region() {
    assert_eq!(refused(HOME, message(3, 8, fetch(OTHER))), Some(Violation::NoSuchPage));
    let fault = Input::Fault { page: PageId { region: REGION, index: 8 }, access: Access::Read };
    assert_eq!(step(&mut node(), fault), [Output::Violation { from: ME, reason: Violation::NoSuchPage }]);
    let elsewhere = PageId { region: RegionId(9), index: 0 };
    let fault = Input::Fault { page: elsewhere, access: Access::Write };
    assert_eq!(step(&mut node(), fault), [Output::Violation { from: ME, reason: Violation::NoSuchPage }]);
}

#[test]
fn messages_to_and_from_the_wrong_agent() {
    assert_eq!(refused(OTHER, message(3, 0, GET)), Some(Violation::NotHome));
    assert_eq!(refused(OTHER, message(3, 0, Body::Unsubscribe)), Some(Violation::NotHome));
    assert_eq!(refused(OTHER, message(3, 0, fetch(OTHER))), Some(Violation::NotFromHome));
    assert_eq!(refused(OTHER, message(3, 0, Body::Release { txn: Txn(2) })), Some(Violation::NotFromHome));
}

#[test]
fn agents_that_cannot_be() {
    assert_eq!(refused(HOME, message(3, 0, fetch(AgentId(1024)))), Some(Violation::BadAgent));
    assert_eq!(
        refused(AgentId(u16::MAX), message(3, 0, Body::Ack { txn: Txn(2), req: RequestId(1) })),
        Some(Violation::BadAgent)
    );
    // A demand that would make the holder send to itself, and one that pretends to come from it.
    assert_eq!(refused(HOME, message(3, 0, fetch(ME))), Some(Violation::BadAgent));
    assert_eq!(
        refused(ME, message(3, 0, Body::Ack { txn: Txn(2), req: RequestId(1) })),
        Some(Violation::BadAgent)
    );
    let mut node = node();
    for peer in [ME, AgentId(1024)] {
        let out = step(&mut node, Input::PeerUp { peer, incarnation: Incarnation(7) });
        assert_eq!(out, [Output::RefusePeer { peer, reason: Violation::BadAgent }]);
    }
}

#[test]
fn demands_for_what_is_not_here() {
    assert_eq!(refused(HOME, message(3, 0, fetch(OTHER))), Some(Violation::NotHeld));
}

#[test]
fn another_epoch_is_refused_and_told_which_one_holds() {
    for (theirs, page) in [(2, 0), (4, 0), (4, 99)] {
        let mut node = node();
        let before = node.clone();
        let out = step(&mut node, Input::Message { from: OTHER, message: message(theirs, page, GET) });
        let [Output::Send { to: OTHER, message: answer, .. }] = out[..] else { panic!("{out:?}") };
        assert_eq!((answer.body, answer.epoch), (Body::Refused, 3));
        assert_eq!(node, before);
    }
    // A region that was never declared here has epoch 0.
    let page = PageId { region: RegionId(9), index: 0 };
    let unknown = Message { page, epoch: 1, body: GET };
    let out = step(&mut node(), Input::Message { from: OTHER, message: unknown });
    assert!(
        matches!(out[..], [Output::Send { message: Message { epoch: 0, body: Body::Refused, .. }, .. }]),
        "{out:?}"
    );
}

#[test]
fn a_refused_request_is_sent_again_after_a_while() {
    let mut node = node();
    let page = PageId { region: REGION, index: 0 };
    let asked = step(&mut node, Input::Fault { page, access: Access::Read });
    assert_eq!(node.deadline(), None);
    step(&mut node, Input::Message { from: HOME, message: Message { page, epoch: 2, body: Body::Refused } });
    let deadline = node.deadline().expect("there is something to try again");
    let mut again = Vec::new();
    node.step(deadline, Input::Tick, &mut again);
    assert_eq!(again, asked);
    assert_eq!(node.deadline(), None);
}

#[test]
fn an_agent_that_lost_its_memory_is_another_one() {
    let mut node = Node::new(ME, Incarnation(7), Tuning::default());
    step(&mut node, declare(3, &[ME]));
    step(&mut node, Input::PeerUp { peer: OTHER, incarnation: Incarnation(7) });
    step(&mut node, Input::Message { from: OTHER, message: message(3, 0, GET) });
    let refusal = [Output::RefusePeer { peer: OTHER, reason: Violation::OtherIncarnation }];
    assert_eq!(step(&mut node, Input::PeerUp { peer: OTHER, incarnation: Incarnation(8) }), refusal);
    // Nor is it in a new epoch, and nothing is sent to it.
    assert_eq!(step(&mut node, declare(4, &[ME])), []);
    assert_eq!(step(&mut node, Input::PeerUp { peer: OTHER, incarnation: Incarnation(8) }), refusal);
    let out = step(&mut node, Input::Message { from: OTHER, message: message(3, 0, GET) });
    assert_eq!(out, []);
    // The one that kept it is welcome again.
    let out = step(&mut node, Input::PeerUp { peer: OTHER, incarnation: Incarnation(7) });
    assert!(matches!(
        out[..],
        [Output::Send { to: OTHER, message: Message { body: Body::Resumed, .. }, .. }]
    ));
}

#[test]
fn placements_that_cannot_be() {
    let refusal = |reason| [Output::Violation { from: ME, reason }];
    let mut node = node();
    let before = node.clone();
    assert_eq!(step(&mut node, declare(4, &[])), refusal(Violation::NoHomes));
    assert_eq!(step(&mut node, declare(4, &[AgentId(1024)])), refusal(Violation::BadAgent));
    assert_eq!(node, before);
    // An older one is of the past.
    assert_eq!(step(&mut node, declare(2, &[HOME])), []);
    assert_eq!(node, before);
}

/// Peers that say anything at all, in any order: the node may come to believe nonsense about the pages that they home
/// or hold, but it goes on.
#[test]
fn no_message_brings_the_node_down() {
    for seed in 0..300 {
        let mut random = Random::new(seed);
        let mut node = Node::new(ME, Incarnation(7), Tuning::default());
        let coherence = *random.pick(&[Coherence::WriteInvalidate, Coherence::WriteUpdate]);
        let config = RegionConfig { pages: 2 * CHUNK_PAGES, coherence };
        let placement = Placement { epoch: 3, homes: vec![HOME, ME], previous: Vec::new() };
        step(&mut node, Input::Region { region: REGION, config, placement });
        let mut now = Time(1);
        for _ in 0..2_000 {
            let page = PageId { region: REGION, index: *random.pick(&[0, CHUNK_PAGES, 2 * CHUNK_PAGES]) };
            let peer = *random.pick(&[HOME, OTHER, AgentId(1023)]);
            let input = match random.below(8) {
                0 => Input::Fault { page, access: access(&mut random) },
                1 => Input::PeerUp { peer, incarnation: Incarnation(7) },
                2 => Input::Tick,
                _ => {
                    let epoch = if random.one_in(20) { 2 } else { 3 };
                    Input::Message {
                        from: peer,
                        message: Message { page, epoch, body: anything(&mut random) },
                    }
                }
            };
            if input == Input::Tick {
                now = node.deadline().unwrap_or(now).max(now);
            }
            node.step(now, input, &mut Vec::new());
        }
    }
}

fn access(random: &mut Random) -> Access {
    *random.pick(&[Access::Read, Access::Write])
}

fn anything(random: &mut Random) -> Body {
    // Few numbers, so that many messages fit something that is under way.
    let (txn, version) = (Txn(random.below(12)), Txn(random.below(12)));
    let (req, acks, push) = (RequestId(random.below(6)), random.below(3) as u16, random.one_in(2));
    let (requester, access) = (*random.pick(&[HOME, ME, OTHER, AgentId(9_999)]), access(random));
    let fill = *random.pick(&[Fill::Zero, Fill::Keep]);
    match random.below(15) {
        0 => Body::Get { req, access, have: version },
        1 => Body::Fetch { txn, req, requester, access, acks, push },
        2 => Body::Invalidate { txn, req, requester },
        3 => Body::Data { txn, req, access, acks, version, push },
        4 => Body::Ack { txn, req },
        5 => Body::Grant { txn, req, access, fill, acks, version, push },
        6 => Body::Done { txn, req },
        7 => Body::Probe { txn, req },
        8 => Body::Release { txn },
        9 => Body::Holding { txn },
        10 => Body::TurnOver { version },
        11 => Body::Update { txn, req, version },
        12 => Body::Unsubscribe,
        13 => Body::Refused,
        _ => Body::Resumed,
    }
}
