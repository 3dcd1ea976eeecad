//! A login that shows that a shell ran: for a probe.

/// How many digits each half of the mark has.
const HALF: usize = 16;

/// What runs a login, and what shows that it did.
#[derive(Clone, Debug)]
pub struct Login {
    /// The arguments, program first.
    pub words: Vec<String>,
    /// What the shell prints on a line of its own.
    pub mark: String,
}

impl Login {
    /// Whether the mark is a line of this.
    pub fn shows_in(&self, output: &[u8]) -> bool {
        output.split(|byte| *byte == b'\n').any(|line| line.trim_ascii_end() == self.mark.as_bytes())
    }
}

/// The command, and the mark that it prints: not one that is in the command, which would come back from a
/// login that repeats what it is asked.
pub(super) fn new(nonce: &str) -> (String, String) {
    let (first, second) = nonce.split_at(nonce.len() / 2);
    (command(first, second), mark(first, second))
}

/// The mark that this command prints; none for any other command.
pub(crate) fn asked_by(asked: &str) -> Option<String> {
    let mut halves = asked.strip_prefix("sh -c 'echo ")?.strip_suffix("'")?.splitn(2, "$((20+3))");
    let (first, second) = halves.next().zip(halves.next())?;
    let is_half = |half: &str| half.len() == HALF && half.chars().all(|c| c.is_ascii_hexdigit());
    (is_half(first) && is_half(second)).then(|| mark(first, second))
}

fn command(first: &str, second: &str) -> String {
    format!("sh -c 'echo {first}$((20+3)){second}'")
}

fn mark(first: &str, second: &str) -> String {
    format!("{first}23{second}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_its_own_command_is_known_again() {
        let (command, mark) = new("0123456789abcdef0123456789abcdef");
        assert_eq!(asked_by(&command), Some(mark));
        for other in ["sh -c 'id'", &command.replace("abcdef$", "$(id)0$"), &(command.clone() + "; id"), &command[1..]]
        {
            assert_eq!(asked_by(other), None, "{other}");
        }
    }
}
