//! How much memory there is, and other words of the kernel's.

use std::fs;
use std::path::Path;

/// `MemAvailable` of `/proc/meminfo`, in bytes.
pub(super) fn memory_available(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// The word in brackets, as in `always within_size [never]`.
pub(super) fn chosen(words: &str) -> Option<String> {
    let word = words.split_whitespace().find_map(|word| word.strip_prefix('[')?.strip_suffix(']'))?;
    Some(word.to_owned())
}

/// The tightest memory limit of the control groups (of either version) that are named in `/proc/self/cgroup`, in bytes.
/// A limit of a parent holds for its children, so all the way up is looked at.
pub(super) fn cgroup_memory_limit(root: &Path, cgroup: &str) -> Option<u64> {
    let limit = |line: &str| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        let (mount, file) = if controllers.is_empty() {
            (root.to_path_buf(), "memory.max")
        } else if controllers.split(',').any(|controller| controller == "memory") {
            (root.join("memory"), "memory.limit_in_bytes")
        } else {
            return None;
        };
        let path = Path::new(path.trim_start_matches('/'));
        path.ancestors().filter_map(|group| read_limit(&mount.join(group).join(file))).min()
    };
    cgroup.lines().filter_map(limit).min()
}

/// A limit, if there is one: version 2 writes `max` for none, version 1 the largest number of whole pages.
fn read_limit(path: &Path) -> Option<u64> {
    const NONE_OF_VERSION_1: u64 = (i64::MAX as u64) / 4096 * 4096;
    let limit = fs::read_to_string(path).ok()?.trim().parse().ok()?;
    (limit < NONE_OF_VERSION_1).then_some(limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_the_kernel() {
        assert_eq!(memory_available("MemTotal: 9 kB\nMemAvailable:    2048 kB\n"), Some(2 << 20));
        assert_eq!(memory_available("MemAvailable: many kB"), None);
        assert_eq!(memory_available(""), None);
        assert_eq!(chosen("always within_size advise [never] deny force\n").as_deref(), Some("never"));
        assert_eq!(chosen(""), None);
    }

    #[test]
    fn the_tightest_limit_on_the_way_up_counts() {
        let root = std::env::temp_dir().join(format!("pagemesh-cgroup-test-{}", std::process::id()));
        let write = |path: &str, text: &str| {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("memory.max", "max\n");
        write("pods/memory.max", "4096\n");
        write("pods/a/memory.max", "max\n");
        write("memory/memory.limit_in_bytes", "9223372036854771712\n");
        write("memory/pods/memory.limit_in_bytes", "8192\n");
        for (cgroup, expected) in [
            ("0::/\n", None),
            ("0::/pods/a\n", Some(4096)),
            ("0::/pods/not-there\n", Some(4096)),
            ("3:cpu:/pods\n", None),
            ("4:memory:/\n", None),
            ("4:hugetlb,memory:/pods/b\n3:cpu:/x\n", Some(8192)),
            ("4:memory:/pods\n0::/pods\n", Some(4096)),
            ("nonsense", None),
        ] {
            assert_eq!(cgroup_memory_limit(&root, cgroup), expected, "{cgroup:?}");
        }
        fs::remove_dir_all(&root).unwrap();
    }
}
