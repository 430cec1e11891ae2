//! How long a load takes whose page is on another node: `remote_read WRITER_SOCKET READER_SOCKET REGION [PAGES]`.
//!
//! One process attaches at two agents, stores to every page through the one and times the first load of each through
//! the other. Prints one line of JSON, in microseconds.

use std::path::Path;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Instant;

use pagemesh::Region;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [writer, reader, name, rest @ ..] = &args[..] else {
        return Err("usage: remote_read WRITER_SOCKET READER_SOCKET REGION [PAGES]".into());
    };
    let writer = Region::attach_to(Path::new(writer), name)?;
    let reader = Region::attach_to(Path::new(reader), name)?;
    let words = reader.page_size() / 8;
    let pages = rest.first().map_or(Ok(1024), |p| p.parse())?.min(reader.words().len() / words);
    (0..pages).for_each(|page| writer.words()[page * words].store(page as u64 + 1, SeqCst));
    let mut times: Vec<f64> = Vec::with_capacity(pages);
    for page in 0..pages {
        let start = Instant::now();
        let seen = reader.words()[page * words].load(SeqCst);
        times.push(start.elapsed().as_nanos() as f64 / 1e3);
        assert_eq!(seen, page as u64 + 1, "page {page} holds the wrong data");
    }
    times.sort_unstable_by(f64::total_cmp);
    let (p50, p99) = (times[pages / 2], times[pages * 99 / 100]);
    println!("{{\"pages\":{pages},\"remote_read_us\":{p50:.1},\"remote_read_p99_us\":{p99:.1}}}");
    Ok(())
}
