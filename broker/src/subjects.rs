//! How patterns of subjects relate.

/// Whether a subject can match both patterns.
pub(crate) fn overlap(first: &str, second: &str) -> bool {
    let (mut first, mut second) = (first.split('.'), second.split('.'));
    loop {
        match (first.next(), second.next()) {
            (None, None) => return true,
            (None, Some(_)) | (Some(_), None) => return false,
            (Some(">"), Some(_)) | (Some(_), Some(">")) => return true,
            (Some("*"), Some(_)) | (Some(_), Some("*")) => {}
            (Some(one), Some(other)) if one == other => {}
            _ => return false,
        }
    }
}

/// Whether `wide` matches every subject that `narrow` matches.
pub(crate) fn covers(wide: &str, narrow: &str) -> bool {
    let (mut wide, mut narrow) = (wide.split('.'), narrow.split('.'));
    loop {
        match (wide.next(), narrow.next()) {
            (None, None) => return true,
            (Some(">"), Some(_)) => return true,
            (None, _) | (_, None | Some(">")) => return false,
            (Some("*"), Some(_)) => {}
            (Some(one), Some(other)) if one == other => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_overlap_where_one_subject_matches_both() {
        for (first, second, expected) in [
            ("system.>", "system.service.>", true),
            ("system.>", "system", false),
            ("a.*.c", "a.b.*", true),
            ("a.*", "a.b.c", false),
            (">", "a", true),
            ("*.b", "a.>", true),
            ("a.b", "a.c", false),
        ] {
            assert_eq!(overlap(first, second), expected, "{first} {second}");
            assert_eq!(overlap(second, first), expected, "{second} {first}");
        }
    }

    #[test]
    fn a_pattern_covers_another_only_if_it_matches_all_its_subjects() {
        for (wide, narrow, expected) in [
            ("system.>", "system.>", true),
            ("system.>", "system.service.*", true),
            ("system.service.*", "system.>", false),
            ("*.>", "a.b.c", true),
            ("a.*", "a.>", false),
            ("a.b", "a.*", false),
            (">", ">", true),
            ("a.b.c", "a.b", false),
        ] {
            assert_eq!(covers(wide, narrow), expected, "{wide} {narrow}");
        }
    }
}
