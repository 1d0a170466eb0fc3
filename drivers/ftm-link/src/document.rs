//! Documents that the chip signs: it writes their header itself, so a signature is only good for what we wanted signed
//! when both have written the same. Pure.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use biotrust_driver_api::FtmError;
use biotrust_spdm::command::Document;
use serde::Deserialize;

use crate::failed;

const DOING: &str = "signing as the chip of the trust module";

#[derive(Deserialize)]
struct Header {
    typ: String,
}

/// Kind and payload of the document whose JWS signing input is `message`.
pub(crate) fn taken_apart(message: &[u8]) -> Result<(Document, String), FtmError> {
    let none = || FtmError::Unsupported("sign this as a chip: it signs evidence and nothing else");
    let text = std::str::from_utf8(message).map_err(|_| none())?;
    let (header, payload) = text.split_once('.').ok_or_else(none)?;
    let [header, payload] = [header, payload].map(|part| URL_SAFE_NO_PAD.decode(part));
    let header: Header = header.ok().and_then(|json| serde_json::from_slice(&json).ok()).ok_or_else(none)?;
    let payload = payload.ok().and_then(|json| String::from_utf8(json).ok()).ok_or_else(none)?;
    let documents = [Document::Evidence, Document::Management];
    let document = documents.into_iter().find(|one| one.typ() == header.typ).ok_or_else(none)?;
    Ok((document, payload))
}

/// The signature of `jws`, which must be over `message`.
pub(crate) fn signature(jws: &str, message: &[u8]) -> Result<Vec<u8>, FtmError> {
    let (signed, signature) = jws.rsplit_once('.').ok_or_else(|| failed(DOING, "it gave no JWS"))?;
    if signed.as_bytes() != message {
        return Err(failed(DOING, "it signed something else than it was asked to"));
    }
    URL_SAFE_NO_PAD.decode(signature).map_err(|_| failed(DOING, "its signature is not base64url"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(text: &str) -> String {
        URL_SAFE_NO_PAD.encode(text)
    }

    #[test]
    fn evidence_is_taken_apart_and_nothing_else_is_signed() {
        let input = format!("{}.{}", encoded(r#"{"alg":"RS256","typ":"eat+jwt"}"#), encoded(r#"{"a":1}"#));
        let (document, payload) = taken_apart(input.as_bytes()).unwrap();
        assert_eq!((document, payload.as_str()), (Document::Evidence, r#"{"a":1}"#));
        for bad in [
            "no JWS".to_owned(),
            "a.b".to_owned(),
            format!("{}.{}", encoded(r#"{"typ":"JWT"}"#), encoded("{}")),
            format!("{}.{}", encoded(r#"{"alg":"RS256"}"#), encoded("{}")),
            format!("{input}.x"),
        ] {
            assert!(matches!(taken_apart(bad.as_bytes()), Err(FtmError::Unsupported(_))), "{bad}");
        }
    }

    #[test]
    fn a_signature_over_something_else_is_refused() {
        let jws = format!("aa.bb.{}", encoded("signature"));
        assert_eq!(signature(&jws, b"aa.bb").unwrap(), b"signature");
        assert!(signature(&jws, b"aa.bc").is_err());
        assert!(signature("nothing", b"nothing").is_err());
        assert!(signature("aa.bb.!", b"aa.bb").is_err());
    }
}
