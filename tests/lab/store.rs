//! Where results are kept: one file that several runs of the bench, also at the same time, add to.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::chart;
use crate::table;
use crate::tally::Row;

/// All that is in `recovery.json`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Results {
    schema: String,
    /// What each system was set to.
    profiles: BTreeMap<String, Value>,
    pub(crate) rows: Vec<Row>,
}

impl Results {
    /// How many trials there have been.
    pub(crate) fn trials(&self, scenario: &str, system: &str) -> usize {
        let is_leg =
            |name: &str| name.strip_prefix(scenario).is_some_and(|rest| rest.is_empty() || rest.starts_with(':'));
        let of_it = |row: &&Row| row.system == system && is_leg(&row.scenario);
        self.rows.iter().filter(of_it).map(|row| row.trials).max().unwrap_or(0)
    }
}

/// The directory of `recovery.json`, `recovery.svg` and `recovery.md`.
pub(crate) struct Store {
    directory: PathBuf,
    /// The names of scenarios and systems in the order in which they are shown.
    request: Vec<String>,
}

impl Store {
    /// Goes on with what is there, or puts it aside as `recovery.old.json` and begins anew.
    pub(crate) fn open(directory: &Path, request: Vec<String>, append: bool) -> Result<Self> {
        fs::create_dir_all(directory).with_context(|| directory.display().to_string())?;
        let store = Self { directory: directory.to_owned(), request };
        if !append && store.json().exists() {
            fs::rename(store.json(), directory.join("recovery.old.json"))?;
        }
        Ok(store)
    }

    fn json(&self) -> PathBuf {
        self.directory.join("recovery.json")
    }

    /// All results so far.
    pub(crate) fn read(&self) -> Result<Results> {
        let place = self.json();
        match fs::read_to_string(&place) {
            Ok(text) => serde_json::from_str(&text).with_context(|| place.display().to_string()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Results::default()),
            Err(error) => Err(error).with_context(|| place.display().to_string()),
        }
    }

    /// Adds what one trial has shown. A run that is broken off has lost nothing but its last trial.
    pub(crate) fn add(&self, rows: Vec<Row>, profile: &Value) -> Result<()> {
        let lock = File::create(self.directory.join(".lock"))?;
        lock.lock()?;
        let mut results = self.read()?;
        results.schema = "mirror.recovery/1".to_owned();
        for row in rows {
            results.profiles.insert(row.system.clone(), profile.clone());
            let same = |known: &&mut Row| known.system == row.system && known.scenario == row.scenario;
            match results.rows.iter_mut().find(same) {
                Some(known) => known.merge(row),
                None => results.rows.push(row),
            }
        }
        let place = |name: &str| {
            let known = self.request.iter().filter(|known| name.starts_with(*known)).max_by_key(|known| known.len());
            self.request.iter().position(|name| Some(name) == known)
        };
        results.rows.sort_by_key(|row| (place(&row.scenario), row.scenario.clone(), place(&row.system)));
        results.rows.iter_mut().for_each(Row::sum_up);
        self.replace("recovery.json", &(serde_json::to_string_pretty(&results)? + "\n"))?;
        self.replace("recovery.svg", &chart::picture(&results.rows))?;
        self.replace("recovery.md", &table::markdown(&results.rows))
    }

    fn replace(&self, name: &str, text: &str) -> Result<()> {
        let new = self.directory.join(format!("{name}.new"));
        fs::write(&new, text)?;
        Ok(fs::rename(new, self.directory.join(name))?)
    }
}
