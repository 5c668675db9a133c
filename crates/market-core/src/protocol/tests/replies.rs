//! What clients are told, and what they are not told.

use super::*;

#[test]
fn answers_are_valid_json() {
    let ack = Reply::Ack(Ack {
        id: Some("\"x\"".into()),
        topics: vec!["a:b".parse().expect("a pattern")],
        pending: vec!["a:b".parse().expect("a pattern")],
        ..Ack::default()
    });
    assert_eq!(
        ack.encode(),
        r#"{"op":"ack","id":"x","topics":["a:b"],"pending":["a:b"]}"#
    );
    let live = Live {
        topic: "a:b".parse().expect("a topic"),
        unrecovered: None,
        missing: 0,
        token: ResumeToken::new(7, 9),
    };
    let reply = Reply::Live(live.clone());
    assert_eq!(
        reply.encode(),
        r#"{"op":"live","topic":"a:b","recovered":true,"token":"k1.7.9"}"#
    );
    let reply = Reply::Live(Live {
        unrecovered: Some(Unrecovered::History),
        token: None,
        ..live.clone()
    });
    assert_eq!(
        reply.encode(),
        r#"{"op":"live","topic":"a:b","recovered":false,"reason":"history"}"#
    );
    let reply = Reply::Live(Live { missing: 3, ..live });
    assert_eq!(
        reply.encode(),
        r#"{"op":"live","topic":"a:b","recovered":true,"missing":3,"token":"k1.7.9"}"#
    );
    let error = Reply::Error(RequestError {
        id: None,
        code: ErrorCode::BadTopic,
        message: "quote \" and \n".to_owned(),
        topics: vec!["a\"b".to_owned()],
    });
    let value: serde_json::Value = serde_json::from_str(&error.encode()).expect("valid JSON");
    assert_eq!(value["topics"][0], "a\"b");
    let list = Reply::List(List {
        id: Some("1".into()),
        subscriptions: Vec::new(),
        topics: vec!["a:b".parse().expect("a topic")],
        is_truncated: true,
    });
    assert_eq!(
        list.encode(),
        r#"{"op":"list","id":1,"subscriptions":[],"topics":["a:b"],"truncated":true}"#
    );
}

#[test]
fn a_token_is_read_and_hidden_and_never_quoted() {
    let request = parse(r#"{"op":"auth","id":7,"token":"s3cret"}"#);
    assert!(!format!("{request:?}").contains("s3cret"));
    let Op::Auth(token) = request.op else {
        panic!("an authentication");
    };
    assert_eq!(token.reveal(), "s3cret");
    for text in [
        r#"{"op":"auth"}"#,
        r#"{"op":"auth","token":["s3cret"]}"#,
        r#"{"op":"auth","token":{"s3cret":1}}"#,
        r#"{"op":"auth","token":"s3cret","token":"s3cret"}"#,
    ] {
        let error = check_refused(text, ErrorCode::BadRequest);
        assert!(!error.message.contains("s3cret"), "{}", error.message);
    }
    let ack = Reply::AuthAck(AuthAck {
        id: Some("7".into()),
        expires_ms: 5,
        unsubscribed: vec!["a:*".parse().expect("a pattern")],
    });
    assert_eq!(
        ack.encode(),
        r#"{"op":"ack","id":7,"expires_ms":5,"unsubscribed":["a:*"]}"#
    );
    assert_eq!(
        Reply::AuthExpiring { expires_ms: 5 }.encode(),
        r#"{"op":"auth_expiring","expires_ms":5}"#
    );
}

#[test]
fn close_reasons_fit_a_close_frame() {
    for row in CloseCode::ALL {
        assert!(row.reason.len() <= 123, "{}", row.name);
    }
    assert!(CloseCode::ALL.is_sorted_by_key(|row| row.code));
}
