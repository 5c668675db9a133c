//! `docs/protocol.md` says what the code does.

use market_core::protocol::{CloseCode, ErrorCode, Request, RequestLimits};

const DOCUMENT: &str = include_str!("../../docs/protocol.md");

#[test]
fn every_close_code_is_documented_with_what_to_do() {
    for row in CloseCode::ALL {
        let line = format!(
            "| {} | `{}` | {} |",
            row.code,
            row.name,
            row.reconnect.as_str()
        );
        assert!(DOCUMENT.contains(&line), "missing: {line}");
    }
    let documented = DOCUMENT
        .lines()
        .filter(|line| line.starts_with("| 1") || line.starts_with("| 4"))
        .filter(|line| line.matches('|').count() == 5)
        .count();
    assert_eq!(documented, CloseCode::ALL.len());
}

#[test]
fn every_error_code_is_documented() {
    for code in ErrorCode::ALL {
        let start = format!("| `{}` |", code.as_str());
        assert!(DOCUMENT.contains(&start), "missing: {start}");
    }
}

#[test]
fn every_request_in_the_examples_is_understood() {
    let mut examples = 0;
    for block in DOCUMENT.split("```json\n").skip(1) {
        let (example, _) = block.split_once("\n```").expect("blocks end");
        let request = Request::parse(example, RequestLimits::default());
        assert!(request.is_ok(), "{example}: {request:?}");
        examples += 1;
    }
    assert!(examples >= 7, "only {examples} examples");
}

#[test]
fn every_limit_is_documented_with_its_flag() {
    use clap::CommandFactory;

    #[derive(clap::Parser)]
    struct Flags {
        #[command(flatten)]
        config: ws_gateway::Config,
    }

    let command = Flags::command();
    for line in DOCUMENT.lines().filter(|line| line.starts_with("| `--")) {
        let cell = line.split('|').nth(1).expect("a first cell");
        for flag in cell.split(',').map(|flag| flag.trim().trim_matches('`')) {
            let long = flag.trim_start_matches("--");
            let is_known = command
                .get_arguments()
                .any(|argument| argument.get_long() == Some(long));
            assert!(is_known, "{flag} is no flag");
        }
    }
}
