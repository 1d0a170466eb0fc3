//! Time tokens: the management server's time, signed for one device and one of its nonces.
//!
//! A compact JWS of type [`TYP`] by a signer of purpose Management whose organisation is the device's provider. A device
//! sets its clock by nothing else, so that a host with a wrong clock cannot move it.

use biotrust_certs::{SignerPurpose, TrustDomain, TrustStore};
use biotrust_model::time::UtcMillis;
use serde::{Deserialize, Serialize};

use crate::shown;
use crate::signed::{self, SignedError, Signer, Unsigned};
use crate::wire::{bytes32, millis};

/// `typ` of the JWS.
pub const TYP: &str = "time+jwt";

/// Longest token, in characters.
pub const MAX_LENGTH: usize = 64 << 10;

/// Longest life of a token: it only has to travel.
const MAX_LIFE_MS: i64 = 120_000;

/// What a token says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TimeToken {
    /// The device's own nonce.
    #[serde(with = "bytes32")]
    pub nonce: [u8; 32],
    /// Time of the server.
    #[serde(with = "millis")]
    pub utc: UtcMillis,
    /// Last instant at which the token may be taken, by that time.
    #[serde(with = "millis")]
    pub exp: UtcMillis,
    /// Serial number of the device.
    pub aud: String,
}

/// Why a token is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TimeTokenError {
    /// Not such a document, or not signed by somebody who may.
    #[error("time token: {0}")]
    Signed(#[from] SignedError),
    /// Signed, and still no token.
    #[error("the time token cannot be read: {0}")]
    Content(String),
    /// For another nonce: a token that was recorded earlier.
    #[error("the time token answers another nonce; ask for a new one")]
    Nonce,
    /// For another device.
    #[error("the time token is for device \"{0}\"")]
    Audience(String),
    /// Lives longer than a token may, or ends before it begins.
    #[error("the time token lives for {0} ms; more than 0 and at most {MAX_LIFE_MS} are allowed")]
    Life(i64),
}

impl TimeToken {
    /// The token, waiting for the server's signature.
    ///
    /// # Errors
    /// The chain is empty or too long.
    pub fn prepare(&self, chain: &[Vec<u8>]) -> Result<Unsigned, SignedError> {
        // Numbers and strings always serialise.
        signed::prepare(TYP, &Signer::Chain(chain), &serde_json::to_string(self).unwrap_or_default())
    }
}

/// Verifies a token for the device `serial` that gave out `nonce`, signed for `organisation` under an anchor of `store`.
///
/// The signer's certificate is judged at the token's own time: whoever asks for the time does not know it. A token cannot
/// be older than the nonce, which is the device's own, so no earlier time can be replayed.
///
/// # Errors
/// The first check that does not hold.
pub fn verify<D: TrustDomain>(
    token: &str,
    nonce: &[u8; 32],
    serial: &str,
    store: &TrustStore<D>,
    organisation: &str,
) -> Result<TimeToken, TimeTokenError> {
    let parsed = signed::parse(TYP, token, MAX_LENGTH)?;
    let content: TimeToken = serde_json::from_slice(&parsed.payload)
        .map_err(|error| TimeTokenError::Content(shown::value(&error.to_string())))?;
    signed::verify_by_purpose(&parsed, store, SignerPurpose::Management, Some(organisation), content.utc)?;
    if content.nonce != *nonce {
        return Err(TimeTokenError::Nonce);
    }
    if content.aud != serial {
        return Err(TimeTokenError::Audience(shown::value(&content.aud)));
    }
    let life = content.exp.since(content.utc);
    if life <= 0 || life > MAX_LIFE_MS {
        return Err(TimeTokenError::Life(life));
    }
    Ok(content)
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use biotrust_certs::{Authority, DeviceStore, TestPki, TestSigner};

    use super::*;

    const NOW: UtcMillis = UtcMillis(1_893_456_000_000);
    const PROVIDER: &str = "Example Devices Ltd";

    static PKI: LazyLock<TestPki> = LazyLock::new(|| TestPki::mint(TestPki::DEFAULT_SPEC, NOW).unwrap());

    fn token() -> TimeToken {
        TimeToken { nonce: [3; 32], utc: NOW, exp: UtcMillis(NOW.0 + 30_000), aud: "SN1".to_owned() }
    }

    fn made(token: &TimeToken, signer: &TestSigner) -> String {
        let unsigned = token.prepare(&signer.chain).unwrap();
        let signature = signer.sign_rs256(unsigned.signing_input());
        unsigned.attach(&signature)
    }

    fn server() -> TestSigner {
        PKI.signer(SignerPurpose::Management, NOW).unwrap()
    }

    fn take(token: &str) -> Result<TimeToken, TimeTokenError> {
        let store: DeviceStore = PKI.store().unwrap();
        verify(token, &[3; 32], "SN1", &store, PROVIDER)
    }

    #[test]
    fn a_token_is_for_one_nonce_of_one_device_and_lives_shortly() {
        let server = server();
        assert_eq!(take(&made(&token(), &server)), Ok(token()));
        let refused = |change: fn(&mut TimeToken)| {
            let mut token = token();
            change(&mut token);
            take(&made(&token, &server)).unwrap_err()
        };
        assert_eq!(refused(|token| token.nonce[0] ^= 1), TimeTokenError::Nonce);
        assert_eq!(refused(|token| token.aud.push('1')), TimeTokenError::Audience("SN11".to_owned()));
        assert_eq!(refused(|token| token.exp = token.utc), TimeTokenError::Life(0));
        assert_eq!(refused(|token| token.exp.0 += 90_001), TimeTokenError::Life(120_001));
    }

    #[test]
    fn only_the_providers_own_server_tells_the_time() {
        let refused = |signer: TestSigner| take(&made(&token(), &signer)).unwrap_err();
        let other = PKI.signer_by(Authority::OtherProvider, SignerPurpose::Management, NOW).unwrap();
        let error = refused(other);
        assert!(matches!(error, TimeTokenError::Signed(SignedError::Organisation { .. })), "{error}");
        let error = refused(PKI.signer(SignerPurpose::Firmware, NOW).unwrap());
        assert!(matches!(error, TimeTokenError::Signed(SignedError::Purpose { .. })), "{error}");
        let stranger = PKI.signer_by(Authority::Stranger, SignerPurpose::Management, NOW).unwrap();
        let error = refused(stranger);
        assert!(matches!(error, TimeTokenError::Signed(SignedError::Untrusted(_))), "{error}");
    }

    #[test]
    fn a_time_at_which_the_server_had_no_certificate_is_none() {
        let token = TimeToken {
            utc: UtcMillis(NOW.0 + 400 * 86_400_000),
            exp: UtcMillis(NOW.0 + 400 * 86_400_000 + 1),
            ..token()
        };
        let error = take(&made(&token, &server())).unwrap_err();
        assert!(matches!(error, TimeTokenError::Signed(SignedError::Untrusted(_))), "{error}");
    }

    #[test]
    fn another_document_of_the_same_server_is_no_token() {
        let server = server();
        let json = serde_json::to_string(&token()).unwrap();
        let unsigned = signed::prepare("mgmt-reply+jwt", &Signer::Chain(&server.chain), &json).unwrap();
        let signature = server.sign_rs256(unsigned.signing_input());
        let error = take(&unsigned.attach(&signature)).unwrap_err();
        assert!(
            matches!(error, TimeTokenError::Signed(SignedError::Unexpected { member: "typ", .. })),
            "{error}"
        );
    }
}
