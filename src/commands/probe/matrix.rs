//! Who sees whom: the same probe from several nodes, at once.

use std::collections::BTreeMap;

use anyhow::Result;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::cli;
use crate::clock::Deadline;
use crate::commands::Context;
use crate::commands::everywhere::{self, Question, Refusal};
use crate::config::Node;
use crate::leader::State;
use crate::name::Name;
use crate::output::{self, Style};
use crate::remote::question;
use crate::view::{self, NodeReport, ReportedState};

/// Names every node.
const ALL: &str = "all";

/// What one node sees.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct MatrixRow {
    /// The node that asked.
    pub from: Name,
    /// Why it could not be had to ask, as a slug; null when it asked.
    pub cause: Option<String>,
    /// The same in words.
    pub detail: Option<String>,
    /// Whether its node list is the one here; null when it did not ask.
    pub digest_equal: Option<bool>,
    /// The nodes as it sees them, in the order asked; `unknown` all of them when it could not be had to ask.
    pub sees: Vec<MatrixCell>,
}

/// How one node looks from another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MatrixCell {
    /// The node that was asked.
    pub node: Name,
    /// Whether it is alive, as seen from there.
    pub state: ReportedState,
    /// Why not, as a slug; null when it is.
    pub cause: Option<String>,
    /// How long the answer took, in ms; null when none came.
    pub latency_ms: Option<f64>,
}

/// A pair of which only one sees the other.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct OneWay {
    /// The node that does not see the other.
    pub from: Name,
    /// The node that is not seen, and sees.
    pub to: Name,
}

impl MatrixRow {
    /// What this machine saw stands in the row of its own node.
    pub(super) fn take_own(&mut self, local_node: Option<&Name>, reports: &[NodeReport]) {
        if Some(&self.from) == local_node {
            (self.cause, self.detail, self.digest_equal) = (None, None, Some(true));
            self.sees = reports.iter().map(cell).collect();
        }
    }

    pub(super) fn states(&self) -> impl Iterator<Item = State> {
        self.sees.iter().filter_map(|cell| match cell.state {
            ReportedState::Alive => Some(State::Alive),
            ReportedState::Dead => Some(State::Dead),
            ReportedState::Unknown => Some(State::Unknown),
            ReportedState::Unasked => None,
        })
    }

    fn of(&self, node: &Name) -> Option<ReportedState> {
        self.sees.iter().find(|cell| cell.node == *node).map(|cell| cell.state)
    }
}

fn cell(report: &NodeReport) -> MatrixCell {
    let NodeReport { node, state, cause, latency_ms, .. } = report;
    MatrixCell { node: node.clone(), state: *state, cause: cause.clone(), latency_ms: *latency_ms }
}

/// The nodes that ask; none without --from.
pub(super) fn chosen<'a>(arguments: &cli::Probe, context: &'a Context) -> Result<Option<Vec<&'a Name>>> {
    match arguments.from.as_slice() {
        [] => Ok(None),
        names if names.iter().any(|name| name == ALL) => Ok(Some(context.config.nodes.keys().collect())),
        names => names.iter().map(|name| Ok(context.config.node(name)?.0)).collect::<Result<_>>().map(Some),
    }
}

/// Has the nodes ask.
pub(super) fn ask(
    arguments: &cli::Probe,
    context: &Context,
    nodes: &[(&Name, &Node)],
    from: &[&Name],
) -> Vec<MatrixRow> {
    // All are not named: a node whose list lacks one of them can still say how the others look.
    let named = nodes.len() < context.config.nodes.len();
    let names = nodes.iter().filter(|_| named).map(|(name, _)| (*name).clone()).collect();
    let command = question::Question::Probe(names).to_string();
    let deadline = Deadline::after(everywhere::timeout(context, arguments.within));
    let question = Question { command, schema: view::SCHEMA, deadline, dead: None };
    let (remote, own) = (context.remote(), context.local_node.as_ref());
    let row = |name: &Name| {
        // Its row is what this machine sees by itself.
        if own == Some(name) {
            return unasked(name, nodes, None);
        }
        let answer = context.config.node(name.as_str()).map(|node| everywhere::ask(&remote, node, &question, read));
        match answer {
            Ok(Ok((digest, cells))) => MatrixRow {
                from: name.clone(),
                cause: None,
                detail: None,
                digest_equal: Some(digest == context.config.digest),
                sees: nodes
                    .iter()
                    .map(|(node, _)| cells.get(*node).cloned().unwrap_or_else(|| unknown(node)))
                    .collect(),
            },
            Ok(Err(refusal)) => unasked(name, nodes, Some(&refusal)),
            Err(_) => unasked(name, nodes, None),
        }
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = from.iter().map(|name| (*name, scope.spawn(|| row(name)))).collect();
        threads.into_iter().map(|(name, thread)| thread.join().unwrap_or_else(|_| unasked(name, nodes, None))).collect()
    })
}

fn read(object: everywhere::Object) -> Option<(String, BTreeMap<Name, MatrixCell>)> {
    let digest = object.value.get("digest")?.as_str()?.to_owned();
    let cells: Vec<MatrixCell> = serde_json::from_value(object.value.get("nodes")?.clone()).ok()?;
    Some((digest, cells.into_iter().map(|cell| (cell.node.clone(), cell)).collect()))
}

fn unknown(node: &Name) -> MatrixCell {
    MatrixCell {
        node: node.clone(),
        state: ReportedState::Unknown,
        cause: Some("unasked".to_owned()),
        latency_ms: None,
    }
}

fn unasked(name: &Name, nodes: &[(&Name, &Node)], refusal: Option<&Refusal>) -> MatrixRow {
    MatrixRow {
        from: name.clone(),
        cause: refusal.map(|refusal| refusal.cause().to_owned()),
        detail: refusal.map(|refusal| refusal.why().to_owned()),
        digest_equal: None,
        sees: nodes.iter().map(|(node, _)| unknown(node)).collect(),
    }
}

/// The pairs of which only one sees the other.
pub(super) fn one_way(rows: &[MatrixRow]) -> Vec<OneWay> {
    let sees = |from: &Name, to: &Name| rows.iter().find(|row| row.from == *from).and_then(|row| row.of(to));
    let blind = rows.iter().flat_map(|row| {
        let dead = row.sees.iter().filter(|cell| cell.state == ReportedState::Dead && cell.node != row.from);
        dead.map(|cell| (&row.from, &cell.node))
    });
    let cut = blind.filter(|(from, to)| sees(to, from) == Some(ReportedState::Alive));
    cut.map(|(from, to)| OneWay { from: from.clone(), to: to.clone() }).collect()
}

/// The same in a sentence.
pub(super) fn reason(rows: &[MatrixRow], cuts: &[OneWay]) -> String {
    let count = |wanted: State| rows.iter().flat_map(MatrixRow::states).filter(|state| *state == wanted).count();
    let asked = rows.iter().filter(|row| row.cause.is_none()).count();
    let (alive, dead, unknown) = (count(State::Alive), count(State::Dead), count(State::Unknown));
    let mut reason = match (dead, unknown) {
        (0, 0) => format!("From {asked} of {} nodes every node is alive.", rows.len()),
        _ => format!("From {asked} of {} nodes: {alive} times alive, {dead} dead, {unknown} unknown.", rows.len()),
    };
    for OneWay { from, to } in cuts {
        reason += &format!(" {to} sees {from}, and {from} does not see {to}.");
    }
    reason
}

/// A grid: a row for each node that asks, a column for each that is asked.
pub(super) fn text(nodes: &[NodeReport], rows: &[MatrixRow], cuts: &[OneWay], style: Style) -> String {
    let head =
        std::iter::once(style.faint("from \\ to")).chain(nodes.iter().map(|report| style.faint(report.node.as_str())));
    let line = |row: &MatrixRow| {
        let cells = row.sees.iter().map(|cell| {
            let is_cut = cuts.iter().any(|cut| cut.from == row.from && cut.to == cell.node);
            match cell.state {
                _ if cell.node == row.from && cell.state == ReportedState::Alive => style.faint("·"),
                ReportedState::Alive => style.good("ok"),
                ReportedState::Dead if is_cut => style.bad("CUT"),
                ReportedState::Dead => style.bad("DEAD"),
                ReportedState::Unknown | ReportedState::Unasked => style.doubtful("?"),
            }
        });
        std::iter::once(row.from.to_string()).chain(cells).collect::<Vec<_>>()
    };
    let grid: Vec<Vec<String>> = std::iter::once(head.collect()).chain(rows.iter().map(line)).collect();
    let mut text = output::columns(&grid);
    for row in rows.iter().filter(|row| row.cause.is_some()) {
        let words = [row.cause.as_deref(), row.detail.as_deref()].into_iter().flatten().collect::<Vec<_>>().join(": ");
        text += &output::paragraph(&style.doubtful("?"), &format!("{} could not ask: {words}", row.from));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_pair_that_one_side_sees_is_cut_one_way() {
        let name = |name: &str| name.parse::<Name>().expect("a name");
        let cell = |(node, state): (&str, ReportedState)| MatrixCell {
            node: name(node),
            state,
            cause: None,
            latency_ms: None,
        };
        let row = |from, sees: [(&str, ReportedState); 3]| MatrixRow {
            sees: sees.map(cell).to_vec(),
            ..unasked(&name(from), &[], None)
        };
        let (alive, dead, unknown) = (ReportedState::Alive, ReportedState::Dead, ReportedState::Unknown);
        let rows = [
            row("a", [("a", alive), ("b", dead), ("c", dead)]),
            row("b", [("a", alive), ("b", alive), ("c", dead)]),
            row("c", [("a", unknown), ("b", unknown), ("c", unknown)]),
        ];
        assert_eq!(one_way(&rows), [OneWay { from: name("a"), to: name("b") }]);
    }
}
