//! Streams beside Klinecast's own.
//!
//! JetStream gives a message to one stream only. Where a wanted stream's subject lies within a
//! subject of Klinecast's own streams, the own stream publishes its messages again under
//! [`COPY_ROOT`], and the wanted stream takes these, under their first subjects.

use service::JournalConfig;

use crate::stream_settings::{StreamSettings, SubjectTransform};
use crate::subjects::{covers, overlap};

/// What the subjects of copies begin with.
pub(crate) const COPY_ROOT: &str = "klinecast.copy";

/// A stream as it is created, and the own subjects that have to be published again for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Copies {
    pub(crate) settings: StreamSettings,
    pub(crate) of: Vec<String>,
}

/// The subjects of Klinecast's own streams.
pub(crate) fn own_subjects(prefix: &str) -> Vec<String> {
    let specs = service::streams().into_iter();
    let specs = specs.chain(JournalConfig::default().stream());
    specs
        .map(|spec| match prefix {
            "" => spec.subjects(),
            prefix => format!("{prefix}.{}", spec.subjects()),
        })
        .collect()
}

/// The subject of a message's copy.
pub(crate) fn copied(subject: &str) -> String {
    format!("{COPY_ROOT}.{subject}")
}

/// How a stream of these settings is made beside streams of the `own` subjects.
///
/// # Errors
/// If a subject lies within none of them and yet overlaps.
pub(crate) fn of(settings: &StreamSettings, own: &[String]) -> Result<Copies, String> {
    let mut copies = Copies {
        settings: settings.clone(),
        of: Vec::new(),
    };
    let Some(subjects) = &mut copies.settings.subjects else {
        return Ok(copies);
    };
    for subject in subjects {
        if let Some(origin) = own.iter().find(|origin| covers(origin, subject)) {
            if !copies.of.contains(origin) {
                copies.of.push(origin.clone());
            }
            *subject = copied(subject);
        } else if let Some(origin) = own.iter().find(|origin| overlap(origin, subject)) {
            return Err(format!(
                "its subject {subject} is wider than {origin} of Klinecast's own stream: name narrower subjects, or give Klinecast a prefix (klinecast_prefix, --bus-prefix)"
            ));
        }
    }
    if copies.of.is_empty() {
        return Ok(copies);
    }
    if settings.subject_transform.is_some() {
        return Err(format!(
            "it takes copies of {}, so it cannot have a subject_transform: give the rule to another stream",
            copies.of.join(", ")
        ));
    }
    copies.settings.subject_transform = Some(SubjectTransform {
        src: format!("{COPY_ROOT}.>"),
        dest: ">".to_owned(),
    });
    Ok(copies)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(subjects: &[&str]) -> StreamSettings {
        StreamSettings {
            subjects: Some(subjects.iter().map(|&subject| subject.to_owned()).collect()),
            max_msgs: Some(1),
            ..StreamSettings::default()
        }
    }

    #[test]
    fn subjects_of_own_streams_are_taken_as_copies_and_others_as_they_are() {
        let own = own_subjects("");
        let copies =
            of(&settings(&["system.service.>", "orders.>"]), &own).expect("it can be made");
        assert_eq!(copies.of, ["system.>"]);
        let subjects = copies.settings.subjects.expect("subjects");
        assert_eq!(subjects, ["klinecast.copy.system.service.>", "orders.>"]);
        let market = of(&settings(&["orders.>"]), &own).expect("it can be made");
        assert!(market.of.is_empty());
        assert_eq!(market.settings, settings(&["orders.>"]));
        let prefixed = of(&settings(&["system.>"]), &own_subjects("kc")).expect("it can be made");
        assert_eq!(prefixed.settings, settings(&["system.>"]));
    }

    #[test]
    fn a_subject_wider_than_an_own_stream_is_refused() {
        let error = of(&settings(&[">"]), &own_subjects("")).expect_err("it is too wide");
        assert!(error.contains("narrower"), "{error}");
    }
}
