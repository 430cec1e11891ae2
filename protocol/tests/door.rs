//! What a peer or a configuration can get wrong: each is refused with its reason, and changes nothing.

use pagemesh_protocol::{
    Access, AgentId, Body, Coherence, Incarnation, Input, Message, Node, Output, PageId, Placement,
    RegionConfig, RegionId, RequestId, Time, Tuning, Txn, Violation,
};

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
    Input::Region { region: REGION, config, placement: Placement { epoch, homes: homes.to_vec() } }
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
    let mut node = node();
    let out = step(&mut node, Input::PeerUp { peer: OTHER, incarnation: Incarnation(8) });
    assert_eq!(out, [Output::RefusePeer { peer: OTHER, reason: Violation::OtherIncarnation }]);
    // Nor is it in a new epoch, and nothing is sent to it.
    assert_eq!(step(&mut node, declare(4, &[HOME])), []);
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
    assert_eq!(step(&mut node, declare(4, &[OTHER])), refusal(Violation::HomesMoved));
    assert_eq!(step(&mut node, declare(4, &[AgentId(1024)])), refusal(Violation::BadAgent));
    assert_eq!(node, before);
    // An older one is of the past.
    assert_eq!(step(&mut node, declare(2, &[HOME])), []);
    assert_eq!(node, before);
}
