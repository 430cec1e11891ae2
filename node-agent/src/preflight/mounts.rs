//! `/proc/self/mountinfo`: see proc_pid_mountinfo(5).

/// The value of an option `name=value` of the file system with device number `major:minor`.
pub(super) fn option(mountinfo: &str, major: u64, minor: u64, name: &str) -> Option<String> {
    let device = format!("{major}:{minor}");
    let line = mountinfo.lines().find(|line| line.split(' ').nth(2) == Some(device.as_str()))?;
    // Behind the separator: type, source, options of the file system.
    let options = line.split_once(" - ")?.1.split(' ').nth(2)?;
    let value = |option: &str| Some(option.strip_prefix(name)?.strip_prefix('=')?.to_owned());
    options.split(',').find_map(value)
}

#[cfg(test)]
mod tests {
    use super::option;

    const MOUNTINFO: &str = "\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw,huge=no
30 22 0:26 / /dev/shm rw,nosuid,nodev shared:9 master:2 - tmpfs tmpfs rw,size=8G,huge=within_size,inode64
31 22 0:27 / /run rw - tmpfs tmpfs rw,hugely=1
";

    #[test]
    fn the_file_system_is_found_by_its_device() {
        assert_eq!(option(MOUNTINFO, 0, 26, "huge").as_deref(), Some("within_size"));
        assert_eq!(option(MOUNTINFO, 0, 26, "size").as_deref(), Some("8G"));
        assert_eq!(option(MOUNTINFO, 0, 27, "huge"), None);
        assert_eq!(option(MOUNTINFO, 0, 28, "huge"), None);
        assert_eq!(option("", 0, 26, "huge"), None);
        assert_eq!(option("1 2 0:26 short", 0, 26, "huge"), None);
    }
}
