//! Files of certificates from anybody: BER, PKCS#7, PEM, base64, requests, and what is read out of each certificate.
#![no_main]

use biotrust_certs::{Certificate, Csr, ber, certificates, pkcs7};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok((der, taken)) = ber::to_der(bytes) {
        assert!(taken <= bytes.len());
        // DER is BER, and already is its own DER
        let again = ber::to_der(&der).expect("DER is BER");
        assert_eq!(again, (der.clone(), der.len()));
    }
    let _ = pkcs7::chain(bytes);
    let _ = Csr::verify(bytes);
    for certificate in certificates(bytes).into_iter().flatten() {
        let reread = Certificate::parse(certificate.der()).expect("what was read can be read");
        assert_eq!(reread.sha256(), certificate.sha256());
        let _ = (certificate.subject().to_string(), certificate.serial_hex(), certificate.to_pem());
        let _ = (certificate.is_self_signed(), certificate.may_sign_certificates());
        let _ = certificate.check_signature(&certificate);
    }
});
