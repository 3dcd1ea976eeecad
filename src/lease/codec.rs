//! Keeps the lease of one service in a [`Register`]: how a record is written as a text, and when a
//! read or a swap took place.

use serde::{Deserialize, Serialize};

use super::moved::Mark;
use super::record::{LeaseRecord, MAX_EPOCH, VersionedRecord};
use super::view::Observation;
use crate::clock::{BootInstant, Deadline};
use crate::name::Name;
use crate::register::{CasOutcome, NewText, Register, StoreError, Version, VersionedText, check_length};

/// The name and version of the written form.
const SCHEMA: &str = "mirror.lease/1";

/// One service's lease in a register.
#[derive(Clone, Copy, Debug)]
pub struct LeaseRegister<'a> {
    /// Where it is kept.
    pub register: &'a dyn Register,
    /// The service.
    pub service: &'a Name,
}

/// The outcome of a swap of records.
#[derive(Debug)]
pub enum SwapOutcome {
    /// Our record is in force; for [`observe_own_write`](super::LeaseView::observe_own_write).
    Won(Observation),
    /// Another record is in force; for [`observe`](super::LeaseView::observe).
    Lost(Observation),
    /// Ours may have been written, or may be written later.
    Unknown(StoreError),
}

/// The time limits of a swap.
#[derive(Clone, Copy, Debug)]
pub struct SwapDeadlines {
    /// For the compare-and-swap.
    pub swap: Deadline,
    /// For the read that finds out whether a swap without an answer took effect.
    pub verify: Deadline,
}

impl LeaseRegister<'_> {
    /// Reads the lease.
    ///
    /// # Errors
    /// When the register holds anything but a lease of this service, or cannot be used.
    pub fn read(&self, deadline: Deadline) -> Result<Observation, StoreError> {
        let began = BootInstant::now();
        let found = self.decode_found(self.register.read(deadline)?)?;
        Ok(Observation { began, ended: BootInstant::now(), found })
    }

    /// Replaces the record of version `expected` with `new`; without `expected`, creates it. When no
    /// acknowledgement comes, reads the register to find out whether the swap took effect.
    pub fn swap(&self, expected: Option<&Version>, new: &LeaseRecord, deadlines: SwapDeadlines) -> SwapOutcome {
        let (text, summary) = (encode(self.service, new), new.summary(self.service));
        // A record that cannot be read again could never be replaced either.
        if let Err(why) = check_length(&text).and_then(|()| decode(self.service, &text).map(drop)) {
            return SwapOutcome::Unknown(StoreError::Failed(format!(
                "nothing was written, as it could not be read again: {why}"
            )));
        }
        let began = BootInstant::now();
        let new_text = NewText { text: &text, summary: &summary };
        let (found, error) = match self.register.compare_and_swap(expected, &new_text, deadlines.swap) {
            CasOutcome::Won(version) => {
                let found = Some(VersionedRecord { version, value: new.clone() });
                return SwapOutcome::Won(Observation { began, ended: BootInstant::now(), found });
            }
            CasOutcome::Lost(found) => (Ok(found), None),
            CasOutcome::Unknown(error) => (self.register.read(deadlines.verify), Some(error)),
        };
        let found = match found.and_then(|found| self.decode_found(found)) {
            Ok(found) => found,
            Err(second_error) => return SwapOutcome::Unknown(error.unwrap_or(second_error)),
        };
        let ended = BootInstant::now();
        if let Some(VersionedRecord { version, .. }) = found.as_ref().filter(|found| found.value.is_same_write(new)) {
            let found = Some(VersionedRecord { version: version.clone(), value: new.clone() });
            return SwapOutcome::Won(Observation { began, ended, found });
        }
        match error {
            // The expected record is still there, so our swap may yet take effect.
            Some(error) if found.as_ref().map(|found| &found.version) == expected => SwapOutcome::Unknown(error),
            _ => SwapOutcome::Lost(Observation { began, ended, found }),
        }
    }

    /// The latest records, newest first, at most `max`. Foreign content ends the list.
    ///
    /// # Errors
    /// When the register cannot be used.
    pub fn history(&self, max: usize, deadline: Deadline) -> Result<Vec<VersionedRecord>, StoreError> {
        let texts = self.register.history(max, deadline)?;
        Ok(texts.into_iter().map_while(|text| self.decode_found(Some(text)).ok().flatten()).collect())
    }

    fn decode_found(&self, found: Option<VersionedText>) -> Result<Option<VersionedRecord>, StoreError> {
        let Some(VersionedText { version, value: text }) = found else { return Ok(None) };
        let value = decode(self.service, &text).map_err(|why| {
            if let Some(mark) = Mark::parse(self.service, &text) {
                let (words, remedy) = (mark.words(), mark.remedy());
                return StoreError::Foreign(format!(
                    "the register of {} holds no lease: {words}; {remedy}",
                    self.service
                ));
            }
            StoreError::Foreign(format!(
                "the register of {} holds what is not its lease ({}): {why}; point [lease] elsewhere, or delete it",
                self.service, version.0
            ))
        })?;
        Ok(Some(VersionedRecord { version, value }))
    }
}

#[derive(Deserialize)]
struct SchemaOnly {
    schema: String,
}

#[derive(Serialize, Deserialize)]
struct Line {
    schema: String,
    service: Name,
    #[serde(flatten)]
    value: LeaseRecord,
}

/// A record as one line of JSON that names its schema and its service.
pub fn encode(service: &Name, record: &LeaseRecord) -> String {
    let line = Line { schema: SCHEMA.to_owned(), service: service.clone(), value: record.clone() };
    serde_json::to_string(&line).unwrap_or_default()
}

/// The record that [`encode`] wrote for this service.
///
/// # Errors
/// What is wrong with the text, as half a sentence.
pub fn decode(service: &Name, text: &str) -> Result<LeaseRecord, String> {
    if text.trim().is_empty() {
        return Err("it is empty".to_owned());
    }
    let SchemaOnly { schema } = serde_json::from_str(text).map_err(|_| "it is no JSON with a schema".to_owned())?;
    if schema != SCHEMA {
        let schema: String = schema.chars().take(40).collect();
        return Err(format!("its schema is {schema:?}, not {SCHEMA:?}"));
    }
    let line: Line = serde_json::from_str(text).map_err(|error| format!("it does not parse: {error}"))?;
    if line.service != *service {
        return Err(format!("it is the lease of {}", line.service));
    }
    if !(1..=MAX_EPOCH).contains(&line.value.epoch) {
        return Err(format!("it has the epoch {}", line.value.epoch));
    }
    Ok(line.value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lease::{LeaseState, Nonce};

    fn record() -> LeaseRecord {
        LeaseRecord {
            holder: "moscow".parse().expect("a name"),
            epoch: 7,
            state: LeaseState::Granted,
            previous_holder: Some("spb".parse().expect("a name")),
            nonce: Nonce(10),
            by: "moscow".to_owned(),
            why: None,
            at: "2026-01-01T00:00:00.000Z".to_owned(),
        }
    }

    #[test]
    fn a_record_survives_encoding() {
        let bot = "bot".parse().expect("a name");
        let line = encode(&bot, &record());
        assert!(
            line.starts_with(r#"{"schema":"mirror.lease/1","service":"bot","holder":"moscow","epoch":7,"#),
            "{line}"
        );
        assert!(line.contains(r#""nonce":"0000000000000000000000000000000a""#), "{line}");
        assert_eq!(decode(&bot, &line), Ok(record()));
    }

    #[test]
    fn foreign_content_is_rejected() {
        let bot: Name = "bot".parse().expect("a name");
        let good = encode(&bot, &record());
        let bad = [
            (String::new(), "empty"),
            ("hello".to_owned(), "no JSON"),
            ("{\"a\":1}".to_owned(), "no JSON with a schema"),
            (good.replace("lease/1", "lease/2"), "\"mirror.lease/2\""),
            (encode(&"web".parse().expect("a name"), &record()), "the lease of web"),
            (good.replace("\"epoch\":7", "\"epoch\":0"), "epoch 0"),
            (good.replace("\"epoch\":7", "\"epoch\":9007199254740992"), "epoch 9007199254740992"),
            (good.replace("\"epoch\":7", "\"epoch\":-7"), "does not parse"),
            (good.replace("moscow", "Moscow!"), "does not parse"),
            (good.replace("granted", "given"), "does not parse"),
            (good.replace("0a\"", "0A\""), "no nonce"),
        ];
        for (text, why) in bad {
            let error = decode(&bot, &text).expect_err(&text);
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
