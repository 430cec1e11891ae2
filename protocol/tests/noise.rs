//! Peers that say anything at all, in any order, while homes move, agents leave and regions go.

mod world;

use pagemesh_protocol::{
    Access, AgentId, Body, CHUNK_PAGES, Coherence, Fill, Incarnation, Input, Message, Node, Open, PageId,
    Placement, RegionConfig, RegionId, RequestId, Roles, Time, Tuning, Txn,
};
use world::random::Random;

const REGION: RegionId = RegionId(0);
const ME: AgentId = AgentId(1);
const A: AgentId = AgentId(0);
const B: AgentId = AgentId(2);

fn declare(epoch: u64, homes: &[AgentId], previous: &[AgentId]) -> Input {
    let config = RegionConfig { pages: 2 * CHUNK_PAGES, coherence: Coherence::WriteUpdate };
    let placement = Placement { epoch, homes: homes.to_vec(), previous: previous.to_vec() };
    Input::Region { region: REGION, config, placement }
}

/// The node may come to believe nonsense about the pages that they home or hold, but it goes on.
#[test]
fn nothing_brings_a_moving_node_down() {
    for seed in 0..400 {
        let mut random = Random::new(seed);
        let mut node = Node::new(ME, Incarnation(7), Tuning::default());
        let (mut now, mut epoch, mut homes) = (Time(1), 3, vec![A, ME]);
        node.step(now, declare(epoch, &homes, &[]), &mut Vec::new());
        for _ in 0..2_000 {
            let index = *random.pick(&[0, 1, CHUNK_PAGES, 2 * CHUNK_PAGES]);
            let page = PageId { region: REGION, index };
            let peer = *random.pick(&[A, B, AgentId(1023)]);
            let input = match random.below(12) {
                0 => Input::Fault { page, access: access(&mut random) },
                1 => Input::PeerUp { peer, incarnation: Incarnation(7 + random.below(2)) },
                2 => Input::Tick,
                3 if random.one_in(4) => Input::Leave { region: REGION },
                4 if random.one_in(30) => Input::Drop { region: REGION },
                5 if random.one_in(4) => {
                    let previous = homes.clone();
                    homes = (0..=random.below(3)).map(|_| *random.pick(&[A, ME, B])).collect();
                    epoch += 1;
                    declare(epoch, &homes, &previous)
                }
                _ => {
                    let epoch = if random.one_in(20) { epoch - 1 } else { epoch };
                    let body = anything(&mut random);
                    Input::Message { from: peer, message: Message { page, epoch, body } }
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
    let (txn, version, last) = (Txn(random.below(12)), Txn(random.below(12)), Txn(random.below(40)));
    let (req, keep, exact, push) =
        (RequestId(3 + random.below(6)), random.one_in(2), random.one_in(2), random.one_in(2));
    let (agent, access) = (*random.pick(&[A, ME, B, AgentId(9_999)]), access(random));
    let (fill, acks) = (*random.pick(&[Fill::Zero, Fill::Keep]), random.below(3) as u16);
    let open = Open { txn, req, requester: agent, access, fill, push };
    match random.below(16) {
        0 | 1 => Body::Get { req, access, have: version },
        2 => Body::Fetch { txn, req, requester: agent, access, acks, push },
        3 => Body::Invalidate { txn, req, requester: agent },
        4 => Body::Data { txn, req, access, acks, version, push },
        5 => Body::Grant { txn, req, access, fill, acks, version, push },
        6 => Body::Done { txn, req },
        7 => Body::Holding { txn },
        8 => Body::Claim { exact },
        9 => Body::Entry { version, open: random.one_in(2).then_some(open) },
        10 | 11 => {
            let (incarnation, roles) = (Incarnation(6 + random.below(3)), Roles(random.below(64) as u8));
            Body::Member { agent, incarnation, roles }
        }
        12 => Body::Claimed { exact, to: *random.pick(&[0, 1, 2, CHUNK_PAGES, u64::MAX]), last },
        13 => Body::Settled,
        14 => Body::Leave { req, keep },
        _ => Body::Left { req, keep },
    }
}
