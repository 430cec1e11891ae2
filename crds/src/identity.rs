//! How a region is told apart from all others in the mesh.

const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;

/// The number that names a region between agents: the 64-bit FNV-1a hash of `namespace/name`, or of
/// `namespace/name/uid` where there is a uid, so that a region is not taken for a deleted one of the same name.
///
/// All agents compute the same one from the object alone, so nobody has to hand numbers out.
#[must_use]
pub fn region_id(namespace: &str, name: &str, uid: Option<&str>) -> u64 {
    let bytes = namespace.bytes().chain([b'/']).chain(name.bytes());
    let uid = uid.into_iter().flat_map(|uid| [b'/'].into_iter().chain(uid.bytes()));
    bytes.chain(uid).fold(FNV_OFFSET, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(FNV_PRIME))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Straight from the definition, over the joined string.
    fn fnv1a(text: &str) -> u64 {
        let mut hash = FNV_OFFSET;
        for byte in text.bytes() {
            hash ^= u64::from(byte);
            hash = hash.wrapping_mul(FNV_PRIME);
        }
        hash
    }

    #[test]
    fn is_fnv1a_of_the_full_name() {
        // Published test vectors of FNV-1a 64 hold the reference.
        assert_eq!(fnv1a(""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a("a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fnv1a("foobar"), 0x8594_4171_f739_67e8);
        assert_eq!(region_id("default", "table", None), fnv1a("default/table"));
    }

    #[test]
    fn tells_namespaces_apart() {
        assert_ne!(region_id("a", "b", None), region_id("b", "a", None));
    }

    #[test]
    fn tells_a_region_from_a_deleted_one() {
        assert_eq!(region_id("default", "table", Some("1-2")), fnv1a("default/table/1-2"));
        assert_ne!(region_id("a", "b", Some("1")), region_id("a", "b", Some("2")));
    }
}
