//! Which instruments other programs have, by their announcements.

use std::collections::HashMap;

use crate::instrument::InstrumentId;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Carriers(HashMap<String, Vec<bool>>);

impl Carriers {
    /// By the name of a program: whether it publishes or follows each instrument.
    pub(crate) fn new(said: impl Iterator<Item = (String, Vec<bool>)>) -> Self {
        Self(said.collect())
    }

    /// Whether a program may take an instrument. One that has just started, and has not said what it
    /// has, may take everything.
    pub(crate) fn may_take(&self, program: &str, instrument: InstrumentId) -> bool {
        let said = self.0.get(program);
        said.is_none_or(|has| has.get(instrument) == Some(&true))
    }

    /// Whether a program has said that it has an instrument.
    pub(crate) fn carries(&self, program: &str, instrument: InstrumentId) -> bool {
        let said = self.0.get(program);
        said.is_some_and(|has| has.get(instrument) == Some(&true))
    }

    /// Whether a program may have an instrument that is not followed here.
    pub(crate) fn may_have_other(
        &self,
        program: &str,
        is_followed: impl Fn(InstrumentId) -> bool,
    ) -> bool {
        let Some(has) = self.0.get(program) else {
            return true;
        };
        let mut has = has.iter().enumerate();
        has.any(|(instrument, &has)| has && !is_followed(instrument))
    }
}
