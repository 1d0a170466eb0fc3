//! Model metadata of the simulated adopter: what it has certified the virtual models for, with the values that good ones
//! measure to, signed by its metadata signer.

use std::time::Duration;

use anyhow::Context as _;
use biosim_scanner::{Factory, Kind, Maker, Release, Spec};
use biotrust_attest::metadata::{self, Document, Model};
use biotrust_attest::signed::{self, Signer};
use biotrust_certs::{SignerPurpose, TestPki};
use biotrust_model::Level;
use biotrust_model::evidence::FtmKind;
use biotrust_model::time::UtcMillis;

/// Lowest security version number that the adopter accepts: that of the release that devices are sold with.
const MINIMUM_SVN: u64 = 1;
/// The next publication is due after this time.
const DUE_AFTER: Duration = Duration::from_secs(30 * 86_400);

/// The metadata for the models of these devices: a compact JWS. Blocks for some 100 ms: the signer makes its key.
pub(crate) fn publish(
    pki: &TestPki,
    factory: &Factory,
    maker: &Maker,
    devices: &[Spec],
    now: UtcMillis,
) -> anyhow::Result<String> {
    let mut kinds: Vec<Kind> = devices.iter().map(|spec| spec.kind).collect();
    kinds.sort_unstable();
    kinds.dedup();
    let models = kinds.into_iter().map(|kind| {
        let mut built = devices.iter().filter(|spec| spec.kind == kind);
        // The same model may be sold with and without a trust module; what is certified is the better one.
        let best = built.clone().find(|spec| spec.level == Level::L1).or_else(|| built.next());
        model(factory, maker, best.context("a kind without a device")?)
    });
    let document = Document {
        number: 1,
        issued_at: now,
        next_update: now.plus(DUE_AFTER),
        models: models.collect::<anyhow::Result<_>>()?,
    };
    let signer = pki.signer(SignerPurpose::Metadata, now).context("making the signer of model metadata")?;
    let unsigned = signed::prepare(metadata::TYP, &Signer::Chain(&signer.chain), &document.to_json())
        .context("signing the model metadata")?;
    let signature = signer.sign_rs256(unsigned.signing_input());
    Ok(unsigned.attach(&signature))
}

/// What the adopter says of one model.
fn model(factory: &Factory, maker: &Maker, spec: &Spec) -> anyhow::Result<Model> {
    let identity = spec.description(0, maker).identity; // the serial number does not matter
    let releases = [Release::outdated(), Release::current(), Release::next()];
    let certified = factory.model(&identity, &releases, MINIMUM_SVN).context("measuring a good device")?;
    Ok(match spec.level {
        Level::L1 => certified,
        // A plain scanner: nothing in it could be measured.
        Level::L0 => Model {
            level: Level::L0,
            ftm: FtmKind::Software,
            anchors: Vec::new(),
            minimum_svn: 0,
            firmware: Vec::new(),
            ..certified
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{LevelChoice, Profile};
    use crate::{lab, pki, profile};
    use biotrust_attest::metadata::Metadata;
    use biotrust_model::time::{Clock as _, SystemClock};
    use std::sync::Arc;

    #[test]
    fn each_model_is_in_it_at_its_level_and_the_adopter_has_signed() {
        let now = SystemClock.now();
        let pki = Arc::new(pki::mint(now).unwrap());
        let factory = Factory::new(Arc::clone(&pki), Arc::new(SystemClock));
        let maker = lab::maker(&pki);
        let devices = profile::devices(Profile::All, LevelChoice::Mixed);
        let jws = publish(&pki, &factory, &maker, &devices, now).unwrap();

        let read = Metadata::verify(&jws, &pki.adopter_store().unwrap(), now, 0).unwrap();
        let level = |model: &str| read.find(&maker.provider, "Biosim", model).map(|entry| entry.level);
        assert_eq!(level("SLAP-442"), Some(Level::L0), "sold as a plain scanner");
        assert_eq!(level("FACE-1080"), Some(Level::L1), "sold as both");
        assert_eq!(level("AIRFINGER-1"), None, "nobody has one");
        let strange = pki::mint(now).unwrap();
        assert!(Metadata::verify(&jws, &strange.adopter_store().unwrap(), now, 0).is_err());
    }
}
