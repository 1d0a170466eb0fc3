//! The rules, by name. What each says stands in the user's manual, docs/users/certificates.md.

macro_rules! rules {
    ($($name:ident = $id:literal, $title:literal;)+) => {
        /// A rule of a profile.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Rule { $(#[doc = $title] $name),+ }

        impl Rule {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// Its name, for people and scripts; never changed.
            #[must_use]
            pub const fn id(self) -> &'static str {
                match self { $(Self::$name => $id),+ }
            }

            /// What it asks for.
            #[must_use]
            pub const fn title(self) -> &'static str {
                match self { $(Self::$name => $title),+ }
            }
        }
    };
}

rules! {
    Version = "version", "X.509 version 3";
    SerialSign = "serial-sign", "a positive serial number";
    SerialLength = "serial-length", "a serial number of 20 bytes at most";
    KeyType = "key-type", "an RSA key";
    KeySize = "key-size", "a key of the right size";
    KeyExponent = "key-exponent", "the public exponent 65537";
    SignatureAlgorithm = "signature-algorithm", "signed with SHA-256 and RSA";
    SignatureMismatch = "signature-mismatch", "one signature algorithm, named twice";
    SelfSigned = "self-signed", "issued by somebody else";
    NotYetValid = "not-yet-valid", "valid now";
    Expired = "expired", "not expired";
    DateOrder = "date-order", "an end after the beginning";
    DateEncoding = "date-encoding", "dates as RFC 5280 encodes them";
    FreshStart = "fresh-start", "valid since yesterday";
    Remaining = "remaining", "enough time left";
    Lifetime = "lifetime", "a life of the right length";
    BeyondIssuer = "beyond-issuer", "no longer life than the issuer";
    IssuerName = "issuer-name", "the issuer's subject, byte for byte";
    CommonName = "common-name", "a common name";
    Organisation = "organisation", "the registered organisation";
    OrganisationLength = "organisation-length", "an organisation of 120 characters at most";
    SubjectLength = "subject-length", "a subject of less than 500 characters";
    SubjectOrder = "subject-order", "subject attributes in the order C, ST, L, O, OU, CN";
    SubjectDropped = "subject-dropped", "only subject attributes that are kept";
    SubjectRepeated = "subject-repeated", "each subject attribute once";
    SubjectJoined = "subject-joined", "one attribute per RDN";
    SubjectString = "subject-string", "subject strings in UTF-8";
    CaFlag = "ca-flag", "a CA, or not a CA";
    KeyUsage = "key-usage", "the right key usage";
    ExtendedKeyUsage = "extended-key-usage", "no extended key usage";
    CriticalExtension = "critical-extension", "no critical extension that nobody knows";
    RepeatedExtension = "repeated-extension", "each extension once";
    KeyIdentifier = "key-identifier", "SHA-1 of the key as key identifier";
    AuthorityKeyIdentifier = "authority-key-identifier", "the issuer's key identifier";
}

impl std::fmt::Display for Rule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.id())
    }
}

#[cfg(test)]
mod tests {
    use super::Rule;

    #[test]
    fn ids_differ_and_the_manual_has_them_all() {
        let manual = include_str!("../../../docs/users/certificates.md");
        for (index, rule) in Rule::ALL.iter().enumerate() {
            assert!(Rule::ALL[index + 1..].iter().all(|other| other.id() != rule.id()));
            let row = format!("| `{}` | {} |", rule.id(), rule.title());
            assert!(manual.contains(&row), "docs/users/certificates.md lacks {row}");
        }
        let rows =
            manual.lines().filter(|line| line.starts_with("| `") && line.matches('|').count() == 5).count();
        assert_eq!(rows, Rule::ALL.len(), "the manual has a rule that does not exist");
    }
}
