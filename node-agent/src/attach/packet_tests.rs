//! Packets, byte by byte.

use super::*;

fn hello(name: &[u8]) -> Vec<u8> {
    let mut packet = header(HELLO, 16 + TEXT_MAX);
    packet[12..16].copy_from_slice(&(name.len() as u32).to_le_bytes());
    packet[16..16 + name.len()].copy_from_slice(name);
    packet
}

/// A `Hello` with these flags.
fn named(name: &str, flags: u32) -> Request {
    let [knows_read_only, inherited, read_only] = [1, 2, 4].map(|flag| flags & flag != 0);
    Request::Hello(Hello { name: name.into(), knows_read_only, inherited, read_only })
}

fn numbers(kind: u16, fields: &[u64]) -> Vec<u8> {
    let mut packet = header(kind, HEADER + 8 * fields.len());
    for (i, field) in fields.iter().enumerate() {
        packet[HEADER + 8 * i..][..8].copy_from_slice(&field.to_le_bytes());
    }
    packet
}

fn samples() -> Vec<(Vec<u8>, Request)> {
    vec![
        (hello(b"team/table"), named("team/table", 0)),
        (hello(&[b'x'; TEXT_MAX]), named(&"x".repeat(TEXT_MAX), 0)),
        (numbers(BIND, &[]), Request::Bind),
        (numbers(KEEP, &[]), Request::Keep),
        (numbers(ASK, &[]), Request::Ask),
        (numbers(NAMES, &[]), Request::Names),
        (
            numbers(MAP, &[0x7f00_dead_b000, 1 << 40, u64::MAX]),
            Request::Map { base: 0x7f00_dead_b000, len: 1 << 40, offset: u64::MAX },
        ),
        (numbers(UNMAP, &[u64::MAX, 1]), Request::Unmap { base: u64::MAX, len: 1 }),
    ]
}

#[test]
fn each_kind_is_read() {
    for (packet, request) in samples() {
        assert_eq!(Request::decode(&packet), Ok(request));
    }
}

#[test]
fn every_other_length_is_refused() {
    for (packet, _) in samples() {
        for len in 0..=PACKET_MAX + 8 {
            let mut other = packet.clone();
            other.resize(len, 0);
            assert_eq!(Request::decode(&other).is_ok(), len == packet.len(), "{len} of {}", packet.len());
        }
    }
}

#[test]
fn no_single_changed_byte_is_read_as_something_else_of_another_kind() {
    for (packet, request) in samples() {
        // Another kind is another kind, and may be as long.
        for at in (0..packet.len()).filter(|at| *at != 6) {
            for flip in 1..=255_u8 {
                let mut other = packet.clone();
                other[at] ^= flip;
                let unknown_flags = (flip & !7 == flip || at > 8) && (8..12).contains(&at);
                if let Ok(read) = Request::decode(&other)
                    && !(unknown_flags && matches!(request, Request::Hello(_)))
                {
                    assert!(at >= HEADER, "byte {at} of the header does not matter");
                    assert_ne!(read, request, "byte {at} does not matter");
                    assert_eq!(std::mem::discriminant(&read), std::mem::discriminant(&request));
                }
            }
        }
    }
}

#[test]
fn a_bad_packet_says_what_is_wrong() {
    let mut version = numbers(BIND, &[]);
    version[4] = 2;
    let mut rest = hello(b"t");
    rest[20] = 1;
    let mut long = hello(b"t");
    long[13] = 2;
    for (packet, error) in [
        (vec![], PacketError::Foreign),
        (b"GET / HT".to_vec(), PacketError::Foreign),
        (version, PacketError::Version(2)),
        (header(WELCOME, 40), PacketError::Kind(WELCOME)),
        (header(0, 8), PacketError::Kind(0)),
        (header(MAP, 24), PacketError::Length { kind: MAP, want: 32, have: 24 }),
        (rest, PacketError::Reserved),
        (long, PacketError::Name),
        (hello(b""), PacketError::Name),
        (hello(b"\xff\xfe"), PacketError::Name),
    ] {
        assert_eq!(Request::decode(&packet), Err(error));
    }
}

#[test]
fn flags_that_a_later_program_sets_are_ignored() {
    for (flags, known) in
        [([0, 0, 0, 0], 0), ([1, 0, 0, 0], 1), ([6, 0, 0, 0], 6), ([0xf8, 1, 1, 1], 0), ([0xff; 4], 7)]
    {
        let mut packet = hello(b"t");
        packet[8..12].copy_from_slice(&flags);
        assert_eq!(Request::decode(&packet), Ok(named("t", known)));
    }
}

#[test]
fn replies_have_the_documented_layout() {
    let welcome = |read_only| {
        Reply::Welcome { size: 0x0102, page_size: 0x1000, userfaultfds: 4, attachment: 9, read_only }.encode()
    };
    assert_eq!(welcome(true)[28..32], [1, 0, 0, 0]);
    let welcome = welcome(false);
    assert_eq!(welcome.len(), 40);
    assert_eq!(welcome[..8], *b"PMSH\x01\0\x02\0");
    assert_eq!(welcome[8..16], [2, 1, 0, 0, 0, 0, 0, 0]);
    assert_eq!(welcome[16..24], [0, 0x10, 0, 0, 0, 0, 0, 0]);
    assert_eq!(welcome[24..], [4, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0]);

    let refuse = Reply::Refuse { reason: Reason::TooMany, text: "no".into() }.encode();
    assert_eq!(refuse.len(), PACKET_MAX);
    assert_eq!(refuse[..18], *b"PMSH\x01\0\x03\0\x04\0\0\0\x02\0\0\0no");
    assert!(refuse[18..].iter().all(|byte| *byte == 0));

    assert_eq!(Reply::Ok.encode(), *b"PMSH\x01\0\x07\0");
}

#[test]
fn a_long_text_is_cut_between_characters() {
    let refuse =
        Reply::Refuse { reason: Reason::Internal, text: "a".to_string() + &"é".repeat(200) }.encode();
    assert_eq!(u32_at(&refuse, 12), 255);
    assert!(std::str::from_utf8(&refuse[16..16 + 255]).is_ok());
}
