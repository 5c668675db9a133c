use super::*;

#[test]
fn resolutions_are_widths_and_one_width_has_one_name() {
    for (text, expected) in [
        ("1S", "1s"),
        ("1", "1m"),
        ("7", "7m"),
        ("60", "1h"),
        ("240", "4h"),
        ("D", "1d"),
        ("1D", "1d"),
        ("2W", "2w"),
        ("M", "1M"),
    ] {
        let width = resolution(text).expect(text);
        assert_eq!(width.to_string(), expected);
    }
    for text in ["", "0", "-1", "1X", "x", "1s", "99999", "1.5", "é"] {
        assert!(resolution(text).is_err(), "{text}");
    }
}
