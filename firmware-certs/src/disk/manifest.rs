//! The manifest of a store: a few lines of TOML. The last line seals the others, so that neither a lost line nor a
//! flipped bit in the number goes unseen. (Against mishaps; whoever may write the file can seal it again.)

use serde::{Deserialize, Serialize};

use crate::{Domain, sha256_hex};

/// What stands in `manifest.toml`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Manifest {
    pub(super) domain: String,
    pub(super) number: u64,
    /// How many certificates there are: for people.
    pub(super) certificates: usize,
    /// SHA-256 of the file of certificates, upper-case hexadecimal.
    pub(super) sha256: String,
    /// SHA-256 of all of the above.
    seal: String,
}

impl Manifest {
    pub(super) fn of(domain: Domain, number: u64, certificates: usize, pem: &[u8]) -> Self {
        let domain = domain.as_str().to_owned();
        let mut manifest =
            Self { domain, number, certificates, sha256: sha256_hex(pem), seal: String::new() };
        manifest.seal = manifest.seal_of_the_rest();
        manifest
    }

    pub(super) fn parse(text: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(text).map_err(|_| "not text".to_owned())?;
        let manifest: Self = toml::from_str(text).map_err(|error| error.message().to_owned())?;
        if manifest.seal != manifest.seal_of_the_rest() {
            return Err("its seal does not fit its content".to_owned());
        }
        Ok(manifest)
    }

    pub(super) fn to_text(&self) -> String {
        let Self { domain, number, certificates, sha256, seal } = self;
        format!(
            "# Trust store of biotrust; written by the program. `number` only grows.\n\
             domain = \"{domain}\"\nnumber = {number}\ncertificates = {certificates}\n\
             sha256 = \"{sha256}\"\nseal = \"{seal}\"\n"
        )
    }

    pub(super) fn check(&self, pem: &[u8]) -> Result<(), String> {
        if sha256_hex(pem) == self.sha256 { Ok(()) } else { Err("not the bytes of its manifest".to_owned()) }
    }

    pub(super) fn file_name(&self) -> String {
        format!("certificates-{}.pem", self.number)
    }

    fn seal_of_the_rest(&self) -> String {
        let Self { domain, number, certificates, sha256, seal: _ } = self;
        sha256_hex(format!("{domain}\n{number}\n{certificates}\n{sha256}").as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_byte_of_the_manifest_can_change_its_meaning_unseen() {
        let text = Manifest::of(Domain::Ftm, 17, 3, b"pem").to_text().into_bytes();
        let good = Manifest::parse(&text).unwrap();
        assert_eq!(
            (good.domain.as_str(), good.number, good.file_name().as_str()),
            ("FTM", 17, "certificates-17.pem")
        );
        assert!(good.check(b"pem").is_ok() && good.check(b"pen").is_err());
        for at in 0..text.len() {
            let mut bad = text.clone();
            bad[at] ^= 0x01;
            if let Ok(read) = Manifest::parse(&bad) {
                assert_eq!(read.to_text().into_bytes(), text, "byte {at} is in the comment");
            }
        }
        for end in 0..text.len() - 1 {
            assert!(Manifest::parse(&text[..end]).is_err(), "cut at {end}");
        }
    }
}
