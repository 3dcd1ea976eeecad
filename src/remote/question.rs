//! What a node asks another one, apart from its services: the words that are sent, and how a gate knows
//! them. A question that is not here passes no gate.

use std::fmt;

use crate::name::Name;

/// The longest digest of a node list, in characters.
const MAX_DIGEST: usize = 64;

/// The longest text that is sent to be learned, in characters: the reasons of a dozen notices.
const MAX_NOTICES: usize = 64 * 1024;

/// How a peer of the mesh asks for refs, around the path.
const REFS: (&str, &str) = ("git -C ", " for-each-ref '--format=%(objectname) %(refname)' 'refs/breath/*'");

/// A question to a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Question {
    /// Whether a command runs there at all.
    Reached,
    /// The beat of its last check.
    Beat,
    /// The beat, once it has learned these notices: JSON in base64.
    Learn(String),
    /// To make one check, as the brain: it moves nothing unless it is the brain by its own word.
    Check,
    /// Whether it sees these nodes alive, or where none is named, all.
    Probe(Vec<Name>),
    /// What it can do itself, within this time, in ms.
    Here(u64),
    /// What it has of the network's state, within this time, in ms.
    Status(u64),
    /// The last so many entries of its history, none older than this, in ms.
    History(u64, Option<u64>),
    /// The refs of the mesh in the breath's repository, whose path this is.
    BreathRefs(String),
    /// Whether it knows of nothing newer than this grant.
    Witness {
        /// The service.
        service: Name,
        /// The node that holds the lease.
        holder: Name,
        /// The epoch in which it was granted.
        epoch: u64,
        /// The digest of the holder's node list.
        digest: String,
    },
}

impl Question {
    /// What it asks of `mirror` there, word by word; none where it asks nothing of it.
    pub(crate) fn words(&self) -> Option<Vec<String>> {
        let words = match self {
            Self::Reached | Self::BreathRefs(_) => return None,
            Self::Status(within) => {
                ["status", "--here", "--json", "--within", &format!("{within}ms")].map(str::to_owned).to_vec()
            }
            Self::History(last, since) => {
                let first = ["history", "--json", "--last", &last.to_string()].map(str::to_owned).to_vec();
                let since = since.map(|since| ["--since".to_owned(), format!("{since}ms")]);
                first.into_iter().chain(since.into_iter().flatten()).collect()
            }
            Self::Beat => vec!["beat", "--json"].into_iter().map(str::to_owned).collect(),
            Self::Learn(notices) => ["beat", "--json", "--learn", notices].map(str::to_owned).to_vec(),
            Self::Check => ["promote", "--json", "--if-brain"].map(str::to_owned).to_vec(),
            Self::Probe(nodes) => {
                ["probe", "--json"].into_iter().chain(nodes.iter().map(Name::as_str)).map(str::to_owned).collect()
            }
            Self::Here(within) => {
                let within = format!("{within}ms");
                ["chain", "check", "--here", "--json", "--within", &within].map(str::to_owned).to_vec()
            }
            Self::Witness { service, holder, epoch, digest } => {
                let (service, holder, epoch) = (service.as_str(), holder.as_str(), epoch.to_string());
                let first = ["lease", "witness", "--json", service, "--holder", holder];
                let rest = ["--epoch", &epoch, "--digest", digest];
                first.into_iter().chain(rest).map(str::to_owned).collect()
            }
        };
        Some(words)
    }

    /// The question that these words ask; none when they ask anything else, or in another form.
    pub(crate) fn parse(command: &str) -> Option<Self> {
        if let Some(path) = command.strip_prefix(REFS.0).and_then(|rest| rest.strip_suffix(REFS.1)) {
            let path = path.strip_prefix('\'')?.strip_suffix('\'')?.replace(r"'\''", "'");
            return Some(Self::BreathRefs(path)).filter(|question| question.to_string() == command);
        }
        let milliseconds = |text: &str| text.strip_suffix("ms")?.parse::<u64>().ok();
        let words: Vec<&str> = command.split(' ').collect();
        let question = match words.as_slice() {
            ["true"] => Self::Reached,
            ["mirror", "beat", "--json"] => Self::Beat,
            ["mirror", "beat", "--json", "--learn", notices] => Self::Learn(base64_of(notices)?),
            ["mirror", "promote", "--json", "--if-brain"] => Self::Check,
            ["mirror", "probe", "--json", nodes @ ..] => {
                Self::Probe(nodes.iter().map(|node| node.parse().ok()).collect::<Option<_>>()?)
            }
            ["mirror", "chain", "check", "--here", "--json", "--within", within] => Self::Here(milliseconds(within)?),
            ["mirror", "status", "--here", "--json", "--within", within] => Self::Status(milliseconds(within)?),
            ["mirror", "history", "--json", "--last", last] => Self::History(last.parse().ok()?, None),
            ["mirror", "history", "--json", "--last", last, "--since", since] => {
                Self::History(last.parse().ok()?, Some(milliseconds(since)?))
            }
            [
                "mirror",
                "lease",
                "witness",
                "--json",
                service,
                "--holder",
                holder,
                "--epoch",
                epoch,
                "--digest",
                digest,
            ] => Self::Witness {
                service: service.parse().ok()?,
                holder: holder.parse().ok()?,
                epoch: epoch.parse().ok()?,
                digest: digest_of(digest)?,
            },
            _ => return None,
        };
        // Numbers have more than one form.
        (question.to_string() == command).then_some(question)
    }
}

impl fmt::Display for Question {
    /// The shell command that asks it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self, self.words()) {
            (Self::BreathRefs(path), _) => write!(f, "{}{}{}", REFS.0, super::quoted(path), REFS.1),
            (_, None) => f.write_str("true"),
            (_, Some(words)) => write!(f, "mirror {}", words.join(" ")),
        }
    }
}

fn base64_of(text: &str) -> Option<String> {
    let is_digit = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=');
    let fits = !text.is_empty() && text.len() <= MAX_NOTICES && text.chars().all(is_digit);
    fits.then(|| text.to_owned())
}

fn digest_of(text: &str) -> Option<String> {
    let fits = !text.is_empty() && text.len() <= MAX_DIGEST && text.chars().all(|c| c.is_ascii_hexdigit());
    fits.then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_known_again_and_nothing_else_is_one() {
        let name = |text: &str| text.parse::<Name>().expect("a name");
        let witness = Question::Witness {
            service: name("bot"),
            holder: name("spb"),
            epoch: u64::MAX,
            digest: "0123456789abcdef".to_owned(),
        };
        let others =
            [Question::Here(5000), Question::Status(1), Question::History(9, None), Question::History(9, Some(1))];
        let refs = Question::BreathRefs("/srv/it's".to_owned());
        assert_eq!(
            refs.to_string(),
            r"git -C '/srv/it'\''s' for-each-ref '--format=%(objectname) %(refname)' 'refs/breath/*'"
        );
        let probes = [vec![], vec![name("spb")], vec![name("spb"), name("almaty")]].map(Question::Probe);
        let learn = Question::Learn("W3sia2luZCI6ImRyYWluIn1d/+==".to_owned());
        let questions = [Question::Reached, Question::Beat, Question::Check, learn, refs, witness];
        for question in others.into_iter().chain(probes).chain(questions) {
            assert_eq!(Question::parse(&question.to_string()), Some(question));
        }
        for other in [
            "",
            "true ",
            "true;true",
            "mirror",
            "mirror beat --json --config /tmp/x",
            "mirror  beat --json",
            "mirror probe --json --chain",
            "mirror probe --json $(id)",
            "mirror chain check --here --json --within +5ms",
            "mirror chain check --here --json --within 5s",
            "mirror chain check --here --json --within 05ms",
            "mirror lease witness --json bot --holder a --epoch 1 --digest ;id",
            "mirror promote --json",
            "mirror promote --json --if-brain --to spb",
            "mirror beat --json --learn",
            "mirror beat --json --learn $(id)",
            "mirror beat --json --learn a;id",
            "git -C '/srv' for-each-ref '--format=%(objectname) %(refname)' 'refs/breath/*'; id",
            "git -C '/srv'$(id)'' for-each-ref '--format=%(objectname) %(refname)' 'refs/breath/*'",
            "mirror hold bot -- sh",
            "mirror beat --json\nid",
        ] {
            assert_eq!(Question::parse(other), None, "{other}");
        }
    }
}
