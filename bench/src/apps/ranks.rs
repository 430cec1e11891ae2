//! The processes of a run. All do the same step at the same time: each says a line when it is done, and waits for one to go on.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

/// For how long nobody may say anything. A step takes seconds.
const SILENCE_MAX: Duration = Duration::from_secs(600);

/// What came of a run.
#[derive(Clone, Debug)]
pub(super) struct Ran {
    pub(super) seconds: f64,
    pub(super) result: String,
}

/// Processes that run. Dropping this ends them.
#[derive(Debug)]
pub(super) struct Ranks {
    children: Vec<(Child, ChildStdin)>,
    /// Lines, and nothing at the end, by process.
    said: Receiver<(usize, Option<String>)>,
    /// Which have ended.
    ended: Vec<bool>,
}

impl Ranks {
    pub(super) fn start(commands: Vec<Command>) -> Result<Ranks> {
        let (sender, said) = channel();
        let mut ranks = Ranks { ended: vec![false; commands.len()], children: Vec::new(), said };
        for (number, mut command) in commands.into_iter().enumerate() {
            let mut child = command
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .with_context(|| format!("{} cannot be started", command.get_program().display()))?;
            let (input, output) = (child.stdin.take(), child.stdout.take());
            let (Some(input), Some(output)) = (input, output) else { unreachable!("they are pipes") };
            ranks.children.push((child, input));
            let sender = sender.clone();
            // One process may wait for others by spinning, so that none can be listened to alone.
            std::thread::spawn(move || listen(BufReader::new(output), number, &sender));
        }
        Ok(ranks)
    }

    /// Waits until each has said a line that begins with this word; what follows the word.
    pub(super) fn hear(&mut self, word: &str) -> Result<Vec<String>> {
        let mut heard: Vec<Option<String>> = vec![None; self.children.len()];
        while heard.iter().any(Option::is_none) {
            // One that has said it may end while others have not.
            if let Some(number) =
                (0..heard.len()).find(|number| self.ended[*number] && heard[*number].is_none())
            {
                let status = self.children[number].0.wait()?;
                bail!("process {number} has ended before `{word}` ({status}); see what it said above");
            }
            let (number, line) = match self.said.recv_timeout(SILENCE_MAX) {
                Ok(said) => said,
                Err(RecvTimeoutError::Timeout) => {
                    bail!("the processes have not come to `{word}` within {} s", SILENCE_MAX.as_secs())
                }
                Err(RecvTimeoutError::Disconnected) => unreachable!("each says when it has ended"),
            };
            let Some(line) = line else {
                self.ended[number] = true;
                continue;
            };
            let Some(rest) = line.strip_prefix(word).filter(|_| heard[number].is_none()) else {
                bail!("process {number} says `{}` instead of `{word}`", line.escape_debug());
            };
            heard[number] = Some(rest.trim().to_owned());
        }
        Ok(heard.into_iter().flatten().collect())
    }

    /// Lets all go on.
    pub(super) fn go_on(&mut self) -> Result<()> {
        for (_, input) in &mut self.children {
            writeln!(input).context("a process of the run has ended; see what it said above")?;
        }
        Ok(())
    }

    /// Waits until all have ended, and ended well.
    pub(super) fn end(mut self) -> Result<()> {
        for (number, (child, _)) in self.children.iter_mut().enumerate() {
            let status = child.wait()?;
            ensure!(status.success(), "process {number}: {status}; see what it said above");
        }
        Ok(())
    }
}

impl Drop for Ranks {
    fn drop(&mut self) {
        for (child, _) in &mut self.children {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn listen(output: impl BufRead, number: usize, sender: &Sender<(usize, Option<String>)>) {
    // Nobody listens any more when the run has failed.
    for line in output.lines().map_while(Result::ok) {
        let _ = sender.send((number, Some(line)));
    }
    let _ = sender.send((number, None));
}

/// How long the slowest took, of what each says in nanoseconds.
pub(super) fn longest_seconds(nanos: &[String]) -> Result<f64> {
    let nanos =
        nanos.iter().map(|nanos| nanos.parse::<u64>().context("a process does not say how long it took"));
    let longest = nanos.collect::<Result<Vec<u64>>>()?.into_iter().max().unwrap_or_default();
    Ok(longest as f64 / 1e9)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn all_do_the_same_step() {
        let script = "echo ready; read x; echo ran $0; read x; echo result 7";
        let commands = ["3", "2000000000"].map(|nanos| {
            let mut command = shell(script);
            command.arg(nanos);
            command
        });
        let mut ranks = Ranks::start(commands.into()).expect("sh runs");
        assert_eq!(ranks.hear("ready").expect("said"), ["", ""]);
        ranks.go_on().expect("they read");
        let ran = ranks.hear("ran").expect("said");
        assert!((longest_seconds(&ran).expect("numbers") - 2.0).abs() < 1e-9);
        ranks.go_on().expect("they read");
        assert_eq!(ranks.hear("result").expect("said"), ["7", "7"]);
        ranks.end().expect("all is well");
    }

    #[test]
    fn one_that_ends_ends_all() {
        let mut ranks = Ranks::start(vec![shell("read x"), shell("exit 3")]).expect("sh runs");
        let error = ranks.hear("ready").expect_err("one has ended").to_string();
        assert!(error.starts_with("process 1 has ended before `ready` (exit status: 3)"), "{error}");
    }

    #[test]
    fn what_nobody_expects() {
        let mut ranks = Ranks::start(vec![shell("echo hello; read x")]).expect("sh runs");
        let error = ranks.hear("ready").expect_err("not that").to_string();
        assert_eq!(error, "process 0 says `hello` instead of `ready`");
        let mut ranks = Ranks::start(vec![shell("echo ready; exit 4")]).expect("sh runs");
        ranks.hear("ready").expect("said");
        assert!(ranks.hear("ran").is_err());
        assert!(ranks.end().is_err());
    }
}
