//! Bodies as real clients send them.

/// Discovery of everything, as browsers send it.
pub const DISCOVER_ALL: &str = r#"{"type":"Biometric Device"}"#;

/// RCAPTURE of the desktop client: strings for numbers, local time with nine digits, null where others leave out.
pub const DESKTOP: &str = r#"{"env":"Staging","purpose":"Registration","specVersion":"0.9.5","timeout":"10000",
"captureTime":"2026-11-24T08:26:41.559005128","transactionId":"2f1e0bb0-7f62-4cf5-8a54-40a1b5c1d0aa",
"bio":[{"type":"Finger","count":"4","bioSubType":null,"exception":["Left RingFinger"],"requestedScore":"60",
"deviceId":"BT0000000001","deviceSubId":"1","previousHash":null}],"customOpts":null}"#;

/// CAPTURE of the browser widget.
pub const BROWSER: &str = r#"{"env":"Staging","purpose":"Auth","specVersion":"0.9.5","timeout":"30000",
"captureTime":"2026-11-24T08:19:42.240Z","domainUri":"https://login.example","transactionId":"1234567890",
"bio":[{"type":"Finger","count":"1","bioSubType":["UNKNOWN"],"requestedScore":"70","deviceId":"BT0000000001",
"deviceSubId":"0","previousHash":""}],"customOpts":null}"#;

/// CAPTURE of the older browser client: numbers.
pub const OLD_BROWSER: &str = r#"{"env":"Staging","purpose":"Auth","specVersion":"0.9.5","timeout":30000,
"captureTime":"2026-11-24T08:19:42.240Z","domainUri":"https://login.example","transactionId":"1234567890",
"bio":[{"type":"Face","count":1,"bioSubType":null,"requestedScore":70,"deviceId":"BT0000000001",
"deviceSubId":0,"previousHash":""}],"customOpts":null}"#;

/// RCAPTURE of the Android relay: no time, no transaction id, no customOpts.
pub const ANDROID: &str = r#"{"env":"Developer","purpose":"Registration","specVersion":"0.9.5","timeout":10000,
"captureTime":null,"transactionId":null,"bio":[{"type":"Iris","count":2,"bioSubType":[],"exception":[],
"requestedScore":60,"deviceId":"SERIAL000001","deviceSubId":"3","previousHash":""}]}"#;

/// STREAM of the desktop client.
pub const STREAM: &str = r#"{"deviceId":"BT0000000001","deviceSubId":"1","timeout":"10000"}"#;
