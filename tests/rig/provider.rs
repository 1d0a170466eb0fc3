//! A device provider: an authority of its own, which certifies keys of plain scanners by hand over the control socket.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DnType, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_RSA_SHA256,
};
use serde_json::{Value, json};

use crate::host;

/// Its authority.
pub(crate) struct Provider {
    issuer: Issuer<'static, KeyPair>,
    der: Vec<u8>,
    /// For those who believe it.
    pub(crate) pem: String,
}

impl Provider {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate_for(&PKCS_RSA_SHA256).expect("a key");
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CountryName, "XX");
        params.distinguished_name.push(DnType::OrganizationName, "Rig");
        params.distinguished_name.push(DnType::CommonName, "Rig Device Root");
        params.not_before = rcgen::date_time_ymd(2025, 1, 1);
        params.not_after = rcgen::date_time_ymd(2040, 1, 1);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let certificate = params.self_signed(&key).expect("a certificate");
        let (der, pem) = (certificate.der().to_vec(), certificate.pem());
        Self { issuer: Issuer::new(params, key), der, pem }
    }

    /// Certifies a key of the device with this serial number, which the daemon makes for it.
    pub(crate) fn enrol(&self, serial: &str) {
        let begun = done(&json!({"op": "enrol_begin", "serial": serial}));
        let request = BASE64.decode(begun["csr"].as_str().expect("a request")).expect("base64");
        let mut request = CertificateSigningRequestParams::from_der(&request.into()).expect("a request");
        request.params.not_before = rcgen::date_time_ymd(2025, 1, 1);
        request.params.not_after = rcgen::date_time_ymd(2040, 1, 1);
        request.params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let leaf = request.signed_by(&self.issuer).expect("a certificate");
        let chain = [leaf.der().to_vec(), self.der.clone()].map(|der| BASE64.encode(der));
        done(&json!({"op": "enrol_finish", "serial": serial, "chain": chain}));
    }
}

fn done(order: &Value) -> Value {
    let answer = host::control(order);
    assert_eq!(answer["ok"], true, "{} {}: {answer}", order["op"], order["serial"]);
    answer["result"].clone()
}
