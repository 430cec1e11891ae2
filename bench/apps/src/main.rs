//! Programs of several processes that share memory, as they are written for one machine: by `shm_open`, `mmap`, and atomic words.
//!
//! ```text
//! pagemesh-apps APP SIZE ITERATIONS alone              computes with memory of its own, and says nanoseconds and result
//! pagemesh-apps APP SIZE ITERATIONS bytes RANKS        says how large the shared memory must be
//! pagemesh-apps APP SIZE ITERATIONS rank K RANKS NAME  is one of the processes; NAME is shared memory that holds zeros,
//!                                                      or what these programs have left there
//! ```
//!
//! A process says `ready` when all are prepared. For a line on standard input it runs, and says `ran` and how many nanoseconds
//! that took. For another line it says `result` and a digest of the whole result as it reads it.

mod app;
mod index;
mod jacobi;
mod matrix;
mod memory;
mod numbers;
mod sort;
mod sync;
mod tsp;

use std::error::Error;
use std::process::ExitCode;
use std::time::Instant;

use app::{App, Problem, Rank};
use memory::{Memory, Plan};
use sync::Barrier;

const USAGE: &str =
    "usage: pagemesh-apps jacobi|matrix|tsp|sort|index SIZE ITERATIONS alone|bytes RANKS|rank K RANKS NAME";
/// Processes that may share.
const RANKS_MAX: usize = 1024;
/// Iterations that a program may do.
const ITERATIONS_MAX: usize = 1 << 28;

/// What this process is to do.
enum Part {
    Alone,
    Bytes,
    Rank { number: usize, memory: String },
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match follow(&words.iter().map(String::as_str).collect::<Vec<_>>()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("pagemesh-apps: {error}");
            ExitCode::FAILURE
        }
    }
}

fn follow(words: &[&str]) -> Result<(), Box<dyn Error>> {
    let [app, size, iterations, rest @ ..] = words else { return Err(USAGE.into()) };
    let (ranks, part) = match rest {
        ["alone"] => (1, Part::Alone),
        ["bytes", ranks] => (whole(ranks)?, Part::Bytes),
        ["rank", number, ranks, memory] => {
            (whole(ranks)?, Part::Rank { number: whole(number)?, memory: (*memory).into() })
        }
        _ => return Err(USAGE.into()),
    };
    let problem = Problem { size: whole(size)?, iterations: whole(iterations)?, ranks };
    match *app {
        "jacobi" => play::<jacobi::Jacobi>(problem, part),
        "matrix" => play::<matrix::Matrix>(problem, part),
        "tsp" => play::<tsp::Tsp>(problem, part),
        "sort" => play::<sort::Sort>(problem, part),
        "index" => play::<index::Index>(problem, part),
        _ => Err(USAGE.into()),
    }
}

fn whole(word: &str) -> Result<usize, Box<dyn Error>> {
    word.parse().map_err(|_| format!("`{}` is not a whole number", word.escape_debug()).into())
}

fn play<A: App>(problem: Problem, part: Part) -> Result<(), Box<dyn Error>> {
    if !A::SIZES.contains(&problem.size) {
        return Err(format!("SIZE must be from {} to {}", A::SIZES.start(), A::SIZES.end()).into());
    }
    if !(1..=ITERATIONS_MAX).contains(&problem.iterations) {
        return Err(format!("ITERATIONS must be from 1 to {ITERATIONS_MAX}").into());
    }
    if !(1..=RANKS_MAX).contains(&problem.ranks) {
        return Err(format!("RANKS must be from 1 to {RANKS_MAX}").into());
    }
    let mut plan = Plan::default();
    let barrier = Barrier::place(&mut plan);
    let app = A::plan(problem, &mut plan);
    match part {
        Part::Bytes => println!("{}", plan.bytes()),
        Part::Alone => {
            let start = Instant::now();
            let result = A::alone(problem);
            println!("ran {}", start.elapsed().as_nanos());
            println!("result {result:016x}");
        }
        Part::Rank { number, .. } if number >= problem.ranks => return Err("K must be below RANKS".into()),
        Part::Rank { number, memory } => {
            let memory = Memory::open(&memory, &plan)?;
            let barrier = Barrier::new(&memory, barrier, problem.ranks);
            take_part(&app, &Rank { number, ranks: problem.ranks, memory, barrier })?;
        }
    }
    Ok(())
}

fn take_part(app: &impl App, rank: &Rank) -> Result<(), Box<dyn Error>> {
    let mut lines = std::io::stdin().lines();
    let mut told = || lines.next().ok_or("nobody says how to go on")?.map_err(Box::<dyn Error>::from);
    app.prepare(rank);
    rank.barrier.wait();
    println!("ready");
    told()?;
    let start = Instant::now();
    app.run(rank);
    println!("ran {}", start.elapsed().as_nanos());
    told()?;
    println!("result {:016x}", app.result(rank));
    Ok(())
}
